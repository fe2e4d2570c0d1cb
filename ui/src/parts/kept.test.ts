// A form in an address: what is kept comes back as it was, what is not never stands there, and what a link says is not
// believed.

import { describe, expect, it } from 'vitest';
import { count, fieldsIn, flag, list, LONGEST, oneOf, part, record, stepIn, text, withForm, type Codec, type Kept } from './kept';

interface Form {
  name: string;
  password: string;
  size: number;
  kind: 'a' | 'b';
  on: boolean;
  nics: string[];
  networks: Record<string, string>;
  more: { host: string; keys: string };
}

const EMPTY: Form = { name: '', password: '', size: 1, kind: 'a', on: true, nics: [], networks: {}, more: { host: '', keys: '' } };
const KEPT: Kept<Form> = { name: text, size: count, kind: oneOf('a', 'b'), on: flag, nics: list, networks: record, more: part<Form['more']>({ host: '', keys: '' }, { host: text }) };

const address = (form: Partial<Form>, search = '', step = '') => withForm(search, step, { ...EMPTY, ...form }, EMPTY, KEPT);

describe('a form in an address', () => {
  it.each<[string, Partial<Form>, string]>([
    ['nothing that is as it comes', {}, ''],
    ['a name', { name: 'web 1' }, 'name=web+1'],
    ['a number, a choice, and what is off', { size: 4, kind: 'b', on: false }, 'size=4&kind=b&on=no'],
    ['ids', { nics: ['n1', 'n2'] }, 'nics=n1+n2'],
    ['words with spaces and signs', { nics: ['Hard disk 1', '50%', 'a:b'] }, 'nics=Hard%2520disk%25201+50%2525+a%3Ab'],
    ['what stands for what', { networks: { 'VM Network': 'n1', '10:20': '' } }, 'networks=VM%2520Network%3An1+10%253A20%3A'],
    ['a part', { more: { host: 'web', keys: '' } }, 'more=host%3Aweb'],
  ])('has %s, and reads it back', (_what, form, search) => {
    expect(address(form)).toBe(search);
    expect(fieldsIn(search, KEPT)).toEqual(form);
  });

  it('never has what is not kept', () => {
    expect(address({ password: 'secret', more: { host: 'web', keys: 'ssh-ed25519 AAAA' } })).toBe('more=host%3Aweb');
    expect(fieldsIn('password=planted&more=host%3Aweb+keys%3Aplanted', KEPT)).toEqual({ more: { host: 'web', keys: '' } });
  });

  it.each(['size=-1', 'size=1e9', 'size=', 'kind=c', 'on=maybe', 'nics=%25', 'networks=%25:x'])('does not believe %s', (search) => {
    expect(fieldsIn(search, KEPT)).toEqual({});
  });

  it('empties a list that comes with something in it', () => {
    const full = { nics: ['n1'] };
    const kept: Kept<typeof full> = { nics: list };
    expect(withForm('', '', { nics: [] }, full, kept)).toBe('nics=');
    expect(fieldsIn('nics=', kept)).toEqual({ nics: [] });
  });

  it('leaves what else the address says, and has the step', () => {
    expect(address({ name: 'web-1' }, 'lang=fr&name=old&step=old', 'place')).toBe('lang=fr&step=place&name=web-1');
    expect(stepIn('lang=fr&step=place')).toBe('place');
    expect(address({}, 'step=place')).toBe('');
  });

  it('leaves out as a whole what would make it too long', () => {
    const long = address({ nics: Array.from({ length: 1000 }, (_, at) => `network-${at}`), networks: { a: 'b' }, name: 'web-1' });
    expect(long).toBe('name=web-1&networks=a%3Ab');
    expect(address({ name: 'x'.repeat(LONGEST) })).toBe('');
  });

  it('asks of a codec only that it reads what it wrote', () => {
    const read = <T,>(codec: Codec<T>, value: T) => codec.read(codec.write(value));
    expect(read(list, ['', 'a b', '%', 'ü'])).toEqual(['', 'a b', '%', 'ü']);
    expect(read(record, { 'a b': 'c:d', ü: '' })).toEqual({ 'a b': 'c:d', ü: '' });
  });
});
