"""
Traces by OpenTelemetry: one trace from the upload to the ready document, one for each question.

The context travels as a W3C traceparent: in HTTP headers, in an object's metadata, and in messages
under the name that Google's own Pub/Sub client gives it. With TRACE_EXPORTER=none, the default,
nothing of OpenTelemetry is imported and a span costs about a microsecond.

A span carries ids, counts and names of errors: never text, a question, an object's name or a key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Literal

from shared.runtime.logs import begin_trace
from shared.runtime.startup import once
from shared.settings import TraceSettings, load

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

# google.cloud.pubsub_v1.open_telemetry.context_propagation puts this before the header's name.
MESSAGE_ATTRIBUTE = "googclient_traceparent"
# The metadata belong to the uploader; this key is ours and is not kept with the document.
OBJECT_METADATA = "traceparent"
# https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/overview
_GOOGLE_ENDPOINT = "https://telemetry.googleapis.com/v1/traces"
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

Value = str | int | float | bool
Kind = Literal["internal", "server", "client", "consumer", "producer"]
# Adds attributes to a span.
Note = Callable[[Mapping[str, Value]], None]
Handler = Callable[["CloudEvent"], None]

_service = "kaydang"


def set_up_tracing(service: str) -> None:
    """Name this process in its spans; nothing is opened before the first span, after the fork."""
    global _service
    _service = f"kaydang-{service}"


def tracing_on() -> bool:
    """Return whether spans are recorded."""
    return _tracer() is not None


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, Value] | None = None,
    *,
    kind: Kind = "internal",
    parent: str = "",
    current: bool = True,
) -> Iterator[Note]:
    """
    Record this block as a span; the yielded function adds attributes to it.

    Args:
        kind: With "server" and "consumer" the lines logged meanwhile name the span's trace too.
        parent: A W3C traceparent from elsewhere; without one, the span around this is the parent.
        current: Whether spans begun meanwhile are its children; a generator says no, because what
            runs between its steps is not its work.
    """
    tracer = _tracer()
    if tracer is None:
        yield _ignore
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode, use_span

    recorded = tracer.start_span(
        name,
        context=_read_context(parent) if parent else None,
        kind=SpanKind[kind.upper()],
        attributes=attributes,
    )
    if kind in ("server", "consumer"):
        begin_trace(_write(recorded), project=load(TraceSettings).google_cloud_project)
    try:
        if current:
            # The exception's own words may quote a document.
            with use_span(recorded, record_exception=False, set_status_on_exception=False):
                yield recorded.set_attributes
        else:
            yield recorded.set_attributes
    except Exception as error:
        recorded.set_attribute("error.type", type(error).__name__)
        recorded.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        recorded.end()


def traced(name: str) -> Callable[[Handler], Handler]:
    """
    Return a decorator for the handler of a push: a span in the trace that the event names.

    The trace of the push's own HTTP request is named in the logs where spans are not recorded.
    """

    def decorate(handle: Handler) -> Handler:
        @wraps(handle)
        def received(event: CloudEvent) -> None:
            # Only a function has it, and it is there already: the operator's commands do without.
            from flask import request

            header = request.headers.get("traceparent", "")
            begin_trace(header, project=load(TraceSettings).google_cloud_project)
            if not tracing_on():
                handle(event)
                return
            with span(name, kind="consumer", parent=read_traceparent(event.data) or header):
                handle(event)

        return received

    return decorate


def read_traceparent(data: object) -> str:
    """
    Return the traceparent of a pushed event, "" if it has none.

    A message has it as its attribute; a notification of Storage, which writes the attributes
    itself, in the object's metadata. Nothing is refused here: the event's reader does that.
    """
    if not isinstance(data, Mapping):
        return ""
    message = data.get("message")
    if not isinstance(message, Mapping):
        return _of_object(data)
    attributes = message.get("attributes")
    if isinstance(attributes, Mapping) and MESSAGE_ATTRIBUTE in attributes:
        return str(attributes[MESSAGE_ATTRIBUTE])
    try:
        return _of_object(json.loads(base64.b64decode(message.get("data") or "")))
    except (ValueError, TypeError, RecursionError):
        return ""


def _of_object(resource: object) -> str:
    metadata = resource.get("metadata") if isinstance(resource, Mapping) else None
    return str(metadata.get(OBJECT_METADATA, "")) if isinstance(metadata, Mapping) else ""


def current_traceparent() -> str:
    """Return the W3C traceparent of the span around this, "" if there is none."""
    if _tracer() is None:
        return ""
    from opentelemetry.trace import get_current_span

    return _write(get_current_span())


def object_metadata() -> dict[str, str]:
    """Return metadata for an upload, so that its events continue this trace."""
    traceparent = current_traceparent()
    return {OBJECT_METADATA: traceparent} if traceparent else {}


def message_attributes() -> dict[str, str]:
    """Return attributes for a message, so that its receiver continues this trace."""
    traceparent = current_traceparent()
    return {MESSAGE_ATTRIBUTE: traceparent} if traceparent else {}


def _ignore(_attributes: Mapping[str, Value]) -> None:
    """Ignore the attributes of a span that is not recorded."""


def _write(recorded: Span) -> str:
    context = recorded.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _read_context(traceparent: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


@once
def _tracer() -> Tracer | None:
    settings = load(TraceSettings)
    if settings.trace_exporter == "none":
        return None
    return _make_provider(_make_exporter(settings), settings).get_tracer("kaydangpt")


def _make_provider(exporter: SpanExporter, settings: TraceSettings) -> TracerProvider:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource({"service.name": _service})
    if settings.google_cloud_project:
        resource = resource.merge(Resource({"gcp.project_id": settings.google_cloud_project}))
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
    resource = resource.merge(OTELResourceDetector().detect())
    # It sends what is left when the process ends, and samples as OTEL_TRACES_SAMPLER says.
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _make_exporter(settings: TraceSettings) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if settings.trace_exporter == "otlp":
        return OTLPSpanExporter(timeout=settings.otel_exporter_otlp_timeout)
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _project = google.auth.default(scopes=[_GOOGLE_SCOPE])
    return OTLPSpanExporter(
        endpoint=_GOOGLE_ENDPOINT,
        session=AuthorizedSession(credentials),  # type: ignore[no-untyped-call]
        timeout=settings.otel_exporter_otlp_timeout,
    )
