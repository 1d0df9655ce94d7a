"""Requests of JSON, in which null says that a field is not given."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class RequestBody(BaseModel):
    """
    A request of JSON, or a part of one.

    Clients in Java, Go and C# write null for what they leave open.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_null(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        optional = {
            field.alias or name
            for name, field in cls.model_fields.items()
            if not field.is_required()
        }
        return {name: v for name, v in value.items() if v is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name, field in (
            (field.alias or name, field) for name, field in cls.model_fields.items()
        ):
            if not field.is_required() and {"type": "null"} not in properties[name].get(
                "anyOf", []
            ):
                kept = {
                    key: properties[name].pop(key)
                    for key in ("title", "description", "default")
                    if key in properties[name]
                }
                properties[name] = {"anyOf": [properties[name], {"type": "null"}], **kept}
        return schema
