// Where the browser is, which the router tells late: it keeps the old page until the new one has been loaded.

/** Which entry of the history it is, as the router counts them; nothing where none does. */
export function place(): number | undefined {
  const { idx } = (history.state ?? {}) as { idx?: unknown };
  return typeof idx === 'number' ? idx : undefined;
}

/** The browser is no more at this address, however that is escaped. */
export function left(address: string): boolean {
  const { pathname, search } = new URL(address, window.location.origin);
  return place() !== undefined && window.location.pathname + window.location.search !== pathname + search;
}
