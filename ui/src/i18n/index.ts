// Languages. The English text is the key; `fr.ts` has the French one. `pseudo` makes every translated text longer and
// marked, so that one that was forgotten, or cut off, is seen.

import i18next from 'i18next';
import { initReactI18next } from 'react-i18next';
import { en } from './en';

export const LANGUAGES = { en: 'English', fr: 'Français' } as const;
export type Language = keyof typeof LANGUAGES;

const STORED = 'xenith.language';

export function pseudo(text: string): string {
  const accents: Record<string, string> = { a: 'á', e: 'é', i: 'í', o: 'ó', u: 'ú', A: 'Á', E: 'É', I: 'Í', O: 'Ó', U: 'Ú' };
  const parts = text.split(/(\{\{.*?\}\}|<.*?>)/);
  const made = parts.map((part, index) => (index % 2 ? part : part.replace(/[aeiouAEIOU]/g, (c) => accents[c] ?? c)));
  return `⟦${made.join('')}${'·'.repeat(Math.ceil(text.length * 0.3))}⟧`;
}

function wanted(): string {
  const asked = new URLSearchParams(globalThis.location?.search).get('lang');
  const stored = globalThis.localStorage?.getItem(STORED);
  const own = (globalThis.navigator?.language ?? 'en').slice(0, 2);
  const found = [asked, stored, own].find((name) => name && (name in LANGUAGES || name === 'pseudo'));
  return found ?? 'en';
}

async function load(language: string) {
  if (language === 'fr' && !i18next.hasResourceBundle('fr', 'translation')) {
    i18next.addResourceBundle('fr', 'translation', (await import('./fr')).fr);
  }
}

export async function startLanguages(language = wanted()) {
  await i18next
    .use({
      type: 'postProcessor',
      name: 'pseudo',
      process: (value: string, _key: unknown, _options: unknown, translator: { language: string }) =>
        translator.language === 'pseudo' ? pseudo(value) : value,
    })
    .use(initReactI18next)
    .init({
      lng: language,
      fallbackLng: 'en',
      resources: { en: { translation: en } },
      keySeparator: false,
      nsSeparator: false,
      interpolation: { escapeValue: false },
      postProcess: ['pseudo'],
      returnEmptyString: false,
      showSupportNotice: false,
    });
  await choose(language, false);
}

export async function choose(language: string, remember = true) {
  await load(language);
  await i18next.changeLanguage(language);
  document.documentElement.lang = language === 'pseudo' ? 'en' : language;
  if (remember) localStorage.setItem(STORED, language);
}
