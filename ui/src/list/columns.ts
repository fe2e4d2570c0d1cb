// What a table shows, and which of it: the columns, their choice in the URL, and the same as CSV.

import type { ReactNode } from 'react';

export interface Column<R> {
  key: string;
  /** Marked with `msg`. */
  header: string;
  cell(row: R): ReactNode;
  /** As CSV has it. */
  text(row: R): string;
  /** The API's name to sort by. */
  sort?: string;
  /** In rem; those without share what is left. */
  width?: number;
  /** Not shown until it is chosen. */
  optional?: boolean;
  /** Left out on a phone. */
  wide?: boolean;
}

export function shown<R>(columns: Column<R>[], chosen: string | null, narrow: boolean): Column<R>[] {
  const wanted = chosen?.split(',').filter(Boolean);
  const picked = columns.filter((column) => (wanted?.length ? wanted.includes(column.key) : !column.optional));
  return narrow ? picked.filter((column) => !column.wide) : picked;
}

/** A spreadsheet would run a cell that begins like a formula. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r;]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csv<R>(columns: Column<R>[], rows: R[], title: (header: string) => string): string {
  const lines = [columns.map((column) => cell(title(column.header)))];
  rows.forEach((row) => lines.push(columns.map((column) => cell(column.text(row)))));
  return lines.map((line) => line.join(',')).join('\r\n') + '\r\n';
}

const CSV = 'text/csv;charset=utf-8';

/** A spreadsheet knows by a mark in front that it is UTF-8; everything else takes that for a part of the text. */
export const contents = (text: string, type = CSV): string[] => (type === CSV ? ['\ufeff', text] : [text]);

export function download(name: string, text: string, type = CSV) {
  const url = URL.createObjectURL(new Blob(contents(text, type), { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
