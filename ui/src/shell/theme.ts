// Light, dark or as the system; high contrast or as the system. Classes of PatternFly on the root element.

import { useSyncExternalStore } from 'react';

export type Theme = 'system' | 'light' | 'dark';
export type Contrast = 'system' | 'high';

const listeners = new Set<() => void>();
const read = <T extends string>(name: string, usual: T): T => (localStorage.getItem(`xenith.${name}`) as T | null) ?? usual;

const dark = () => matchMedia('(prefers-color-scheme: dark)');
const more = () => matchMedia('(prefers-contrast: more)');

function apply() {
  const theme = read<Theme>('theme', 'system');
  const contrast = read<Contrast>('contrast', 'system');
  const root = document.documentElement.classList;
  root.toggle('pf-v6-theme-dark', theme === 'dark' || (theme === 'system' && dark().matches));
  root.toggle('pf-v6-theme-high-contrast', contrast === 'high' || more().matches);
  listeners.forEach((listener) => listener());
}

export function startTheme() {
  dark().addEventListener('change', apply);
  more().addEventListener('change', apply);
  apply();
}

export function setLook(name: 'theme' | 'contrast', value: Theme | Contrast) {
  localStorage.setItem(`xenith.${name}`, value);
  apply();
}

const watch = (listener: () => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export function useLook(): { theme: Theme; contrast: Contrast } {
  const theme = useSyncExternalStore(watch, () => read<Theme>('theme', 'system'));
  const contrast = useSyncExternalStore(watch, () => read<Contrast>('contrast', 'system'));
  return { theme, contrast };
}

/** Changes whenever the page looks otherwise, also because the system does: for what is painted and not styled. */
export function useAppearance(): string {
  return useSyncExternalStore(watch, () => document.documentElement.className);
}
