// Numbers, sizes and times as the language writes them.

import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import type { Unit } from '../api/generated';

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['second', 60],
  ['minute', 60],
  ['hour', 24],
  ['day', 30],
  ['month', 12],
  ['year', Infinity],
];

export interface Format {
  number(value: number): string;
  percent(ratio: number): string;
  bytes(bytes: number): string;
  mib(mib: number): string;
  date(text: string | null | undefined): string;
  /** For tables: digits only. */
  stamp(text: string | null | undefined): string;
  ago(text: string | null | undefined, now?: number): string;
  duration(seconds: number): string;
  /** A measured value with its unit. */
  measure(value: number, unit: Unit): string;
  /** A point of time beside others that are so many seconds apart: no finer than tells them apart. */
  tick(seconds: number, apart: number): string;
}

export function formats(language: string): Format {
  const plainLanguage = language === 'pseudo' ? 'en' : language;
  const own = globalThis.navigator?.language ?? plainLanguage;
  // Canadian French, British English: as the browser has it.
  const locale = own.startsWith(plainLanguage) ? own : plainLanguage;
  const plain = new Intl.NumberFormat(locale);
  const short = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const ratio = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 });
  const when = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
  const digits = new Intl.DateTimeFormat(locale, { dateStyle: 'short', timeStyle: 'medium' });
  const part = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const ticks: [apart: number, format: Intl.DateTimeFormat][] = [
    [60, new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit', second: '2-digit' })],
    [86_400, new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' })],
    [28 * 86_400, new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' })],
    [Infinity, new Intl.DateTimeFormat(locale, { month: 'short', year: 'numeric' })],
  ];
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
  const bytes = (value: number) => {
    const step = value < 1 ? 0 : Math.min(BINARY.length - 1, Math.floor(Math.log2(value) / 10));
    return `${short.format(value / 1024 ** step)} ${BINARY[step]}`;
  };
  // Two digits behind a small number: a load of 0.04 is not 0.
  const little = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 });
  const fine = (value: number) => (value < 10 ? little : short).format(value);
  const unit = (value: number, name: string) =>
    new Intl.NumberFormat(locale, { style: 'unit', unit: name, unitDisplay: 'narrow' }).format(value);
  return {
    number: (value) => plain.format(value),
    percent: (value) => ratio.format(value),
    bytes,
    mib: (mib) => bytes(mib * 1024 ** 2),
    date: (text) => (text ? when.format(new Date(text)) : '—'),
    stamp: (text) => (text ? digits.format(new Date(text)) : '—'),
    ago: (text, now = Date.now()) => {
      if (!text) return '—';
      let value = (new Date(text).getTime() - now) / 1000;
      for (const [name, many] of STEPS) {
        if (Math.abs(value) < many) return relative.format(Math.trunc(value), name);
        value /= many;
      }
      return when.format(new Date(text));
    },
    duration: (seconds) => {
      if (seconds < 60) return unit(Math.round(seconds), 'second');
      const minutes = Math.floor(seconds / 60);
      if (minutes < 60) return `${unit(minutes, 'minute')} ${unit(Math.round(seconds % 60), 'second')}`;
      const hours = Math.floor(minutes / 60);
      if (hours < 24) return `${unit(hours, 'hour')} ${unit(minutes % 60, 'minute')}`;
      return `${unit(Math.floor(hours / 24), 'day')} ${unit(hours % 24, 'hour')}`;
    },
    measure: (value, unit) => {
      switch (unit) {
        case '%':
          return part.format(value / 100);
        case 'B':
          return bytes(value);
        case 'B/s':
          return `${bytes(value)}/s`;
        case '/s':
          return `${fine(value)}/s`;
        case 'W':
          return `${fine(value)} W`;
        case '':
          return fine(value);
      }
    },
    tick: (seconds, apart) => ticks.find(([most]) => apart < most)?.[1].format(new Date(seconds * 1000)) ?? '',
  };
}

export function useFormat(): Format {
  const { i18n } = useTranslation();
  return useMemo(() => formats(i18n.language), [i18n.language]);
}
