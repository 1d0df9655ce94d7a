// What the browser keeps for this page: for all tabs (local), or for as long as a tab lives (session).
// A browser may refuse, or be full. Then it is kept for as long as the page is open.

function open(name) {
  let store = null;
  try {
    store = window[name];
  } catch {
    // Cookies and site data are blocked.
  }
  const held = new Map();
  return {
    isBlocked: store === null,
    get(key) {
      return held.get(key) ?? store?.getItem(key) ?? null;
    },
    /** Keep *value*; return whether it outlives the page. */
    set(key, value) {
      try {
        store.setItem(key, value);
      } catch {
        held.set(key, value);
        return false;
      }
      held.delete(key);
      return true;
    },
    remove(key) {
      held.delete(key);
      store?.removeItem(key);
    },
  };
}

export const local = open("localStorage");
export const session = open("sessionStorage");
