// What of a form stands in its address, and how. Nothing does that is not named here by the form: passwords, keys and
// texts that may hold some stay out of links, of the history and of logs. What a link says is foreign: what does not fit
// is left out, and the form is as if it had not been said.

export interface Codec<T> {
  write(value: T): string;
  /** Nothing where it is none. */
  read(text: string): T | undefined;
}

/** The fields that are kept, each with how it is written. */
export type Kept<D> = { [K in keyof D]?: Codec<Exclude<D[K], undefined>> };

/** So long may what stands behind the `?` become. Servers refuse a head of 16 KiB, and cookies want their place in it. */
export const LONGEST = 6000;

/** Of a wizard; its first step needs no name. */
const STEP = 'step';

export const text: Codec<string> = { write: (value) => value, read: (text) => text };

export const count: Codec<number> = { write: String, read: (text) => (/^\d{1,15}$/.test(text) ? Number(text) : undefined) };

export const flag: Codec<boolean> = { write: (on) => (on ? 'yes' : 'no'), read: (text) => (text === 'yes' ? true : text === 'no' ? false : undefined) };

export const oneOf = <T extends string>(...all: T[]): Codec<T> => ({ write: (value) => value, read: (text) => all.find((one) => one === text) });

// Only what would be taken for what stands between is escaped: an address does it with the rest, and twice is hard to read.
const escaped = (word: string) => word.replace(/[%\s]/g, encodeURIComponent);
const escapedPart = (word: string) => word.replace(/[%\s:]/g, encodeURIComponent);

/** Words with spaces between, which an address shows as `+`. */
export const list: Codec<string[]> = {
  write: (words) => words.map(escaped).join(' '),
  read: (text) => (text === '' ? [] : text.split(' ').map(decodeURIComponent)),
};

/** `name:value`, with spaces between. */
export const record: Codec<Record<string, string>> = {
  write: (values) => Object.entries(values).map((pair) => pair.map(escapedPart).join(':')).join(' '),
  read: (text) => Object.fromEntries(text.split(' ').filter(Boolean).map((pair) => pair.split(':').map(decodeURIComponent)).map(([name = '', value = '']) => [name, value])),
};

/** A part of a form with fields of its own. */
export const part = <D extends object>(empty: D, kept: Kept<D>): Codec<D> => ({
  write: (value) => record.write(Object.fromEntries(written(value, empty, kept))),
  read: (text) => {
    const said = record.read(text);
    return said && { ...empty, ...understood((name) => said[name], kept) };
  },
});

const codecs = <D extends object>(kept: Kept<D>) => Object.entries(kept) as [keyof D & string, Codec<unknown>][];

/** The fields that are not as in an empty form. */
function written<D extends object>(value: D, empty: D, kept: Kept<D>): [string, string][] {
  return codecs(kept).flatMap(([name, codec]): [string, string][] => {
    const [now, before] = [value[name], empty[name]].map((one) => (one === undefined ? '' : codec.write(one)));
    return now === undefined || now === before ? [] : [[name, now]];
  });
}

function understood<D extends object>(said: (name: string) => string | null | undefined, kept: Kept<D>): Partial<D> {
  const found: Partial<D> = {};
  for (const [name, codec] of codecs(kept)) {
    const text = said(name);
    if (text == null) continue;
    try {
      const value = codec.read(text);
      if (value !== undefined) found[name] = value as D[typeof name];
    } catch {
      // A `%` with nothing behind it: it is as if it had not been said.
    }
  }
  return found;
}

/** What an address says of a form. */
export const fieldsIn = <D extends object>(search: string, kept: Kept<D>): Partial<D> => understood((name) => new URLSearchParams(search).get(name), kept);

export const stepIn = (search: string): string => new URLSearchParams(search).get(STEP) ?? '';

/**
 * The address with a step and the fields in it, what else it says as it was. A field that would make it too long is left out
 * as a whole: half of a choice would be another choice.
 */
export function withForm<D extends object>(search: string, step: string, draft: D, empty: D, kept: Kept<D>): string {
  const params = new URLSearchParams(search);
  for (const name of [STEP, ...Object.keys(kept)]) params.delete(name);
  if (step) params.set(STEP, step);
  for (const [name, value] of written(draft, empty, kept)) {
    params.set(name, value);
    if (params.toString().length > LONGEST) params.delete(name);
  }
  return params.toString();
}
