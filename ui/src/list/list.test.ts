import { describe, expect, it } from 'vitest';
import { contents, csv, shown, type Column } from './columns';
import { accept } from './QueryBar';

interface Row {
  name: string;
  note: string;
}

const columns: Column<Row>[] = [
  { key: 'name', header: 'Name', cell: (row) => row.name, text: (row) => row.name },
  { key: 'note', header: 'Note', cell: (row) => row.note, text: (row) => row.note, optional: true, wide: true },
];

describe('columns', () => {
  it.each<[string, string | null, boolean, string[]]>([
    ['usual', null, false, ['name']],
    ['chosen', 'note,name', false, ['name', 'note']],
    ['on a phone', 'note,name', true, ['name']],
  ])('%s', (_name, chosen, narrow, keys) => {
    expect(shown(columns, chosen, narrow).map(({ key }) => key)).toEqual(keys);
  });

  it('writes CSV that a spreadsheet neither breaks nor runs', () => {
    const rows = [
      { name: 'a,b', note: 'says "no"' },
      { name: '=cmd()', note: '-1' },
    ];
    expect(csv(columns, rows, (header) => header)).toBe(`Name,Note\r\n"a,b","says ""no"""\r\n'=cmd(),'-1\r\n`);
  });
});

describe('a file', () => {
  it('has a mark in front where a spreadsheet needs it, and nowhere else', () => {
    expect(contents('Name')).toEqual(['\ufeff', 'Name']);
    expect(contents('-----BEGIN', 'application/x-pem-file')).toEqual(['-----BEGIN']);
  });
});

describe('completion', () => {
  it.each([
    ['pow', 0, 'power:', 'power:'],
    ['power:r', 6, 'running', 'power:running '],
    ['tag:é power:', 13, 'stopped', 'tag:é power:stopped '],
  ])('%s', (typed, from, candidate, after) => {
    expect(accept(typed, from, candidate)).toBe(after);
  });
});
