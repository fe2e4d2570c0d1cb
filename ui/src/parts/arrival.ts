// That a page has come, told by its title to whoever wants to know.

const pages = new EventTarget();

export const arrived = (title: string) => pages.dispatchEvent(new CustomEvent('arrived', { detail: title }));

export function onArrival(told: (title: string) => void): () => void {
  const listen = (event: Event) => told((event as CustomEvent<string>).detail);
  pages.addEventListener('arrived', listen);
  return () => pages.removeEventListener('arrived', listen);
}
