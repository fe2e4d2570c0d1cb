// A table of any length of which only the rows in sight exist. `rows` may be a stretch of it, which begins at `offset`.

import { Checkbox } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr, type ThProps } from '@patternfly/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useId, useRef } from 'react';
import { useTranslation } from 'react-i18next';
import { useNarrow } from '../parts/url';
import type { Column } from './columns';

export interface Selection<R> {
  chosen: Map<string, R>;
  set(chosen: Map<string, R>): void;
}

interface Props<R> {
  label: string;
  columns: Column<R>[];
  rows: R[];
  id(row: R): string;
  name(row: R): string;
  total: number;
  /** So many rows are before these, and not here. */
  offset?: number;
  more?: () => void;
  back?: (index: number) => void;
  sort?: string;
  setSort?(sort: string): void;
  selection?: Selection<R>;
  actions?(row: R): React.ReactNode;
  /** The actions are a menu behind three dots. */
  menu?: boolean;
}

export const ROW_HEIGHT = 40;
/** So near to the end of what is here, more is asked for. */
const NEAR = 60;
/** Rem that a column gets at most there, so that the name has what is left. */
const ON_A_PHONE = 6.5;
/** Boxes of our own: those that a table of PatternFly brings are named in English, by the number of their row. */
const CHECK = 'x-check pf-v6-c-table__check';

export function VirtualTable<R>(props: Props<R>) {
  const { label, columns, rows, id, name, total, offset = 0, more, back, sort, setSort, selection, actions, menu } = props;
  const actionClass = menu ? 'x-actions x-menu' : 'x-actions';
  const { t } = useTranslation();
  const most = useNarrow() ? ON_A_PHONE : Infinity;
  const own = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: offset + rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
    initialRect: { width: 1000, height: 800 },
  });
  const items = virtual.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  const end = offset + rows.length;
  useEffect(() => {
    if (more && last > end - NEAR) more();
  }, [more, last, end]);
  useEffect(() => {
    if (back && first < offset + NEAR) back(Math.max(0, first - NEAR));
  }, [back, first, offset]);

  // In sight and here: behind a fast leap there may be none yet.
  const here = items.filter(({ index }) => index >= offset);
  const before = here[0]?.start ?? items.at(-1)?.end ?? 0;
  const after = virtual.getTotalSize() - (here.at(-1)?.end ?? before);
  const spans = columns.length + (selection ? 1 : 0) + (actions ? 1 : 0);

  const sorting = (column: Column<R>, index: number): ThProps['sort'] => {
    if (!column.sort || !setSort) return undefined;
    const active = columns.findIndex((one) => one.sort === (sort || 'name').replace(/^-/, ''));
    return {
      columnIndex: index,
      sortBy: { index: active, direction: sort?.startsWith('-') ? 'desc' : 'asc' },
      onSort: (_event, _index, direction) => setSort(direction === 'desc' ? `-${column.sort}` : (column.sort ?? '')),
    };
  };
  const toggle = (row: R, on: boolean) => {
    const chosen = new Map(selection?.chosen);
    if (on) chosen.set(id(row), row);
    else chosen.delete(id(row));
    selection?.set(chosen);
  };
  const all = rows.length > 0 && rows.every((row) => selection?.chosen.has(id(row)));

  return (
    <div ref={scroller} className="x-scroller" tabIndex={0} role="region" aria-label={label}>
      <Table variant="compact" isStickyHeader gridBreakPoint="" aria-label={label} aria-rowcount={total + 1} className="x-table">
        <colgroup>
          {selection && <col className="x-check" />}
          {columns.map(({ key, width }) => (
            <col key={key} style={width ? { width: `${Math.min(width, most)}rem` } : undefined} />
          ))}
          {actions && <col className={actionClass} />}
        </colgroup>
        <Thead>
          <Tr aria-rowindex={1}>
            {selection && (
              <Th className={CHECK}>
                <Checkbox id={`${own}-all`} aria-label={t('Select all that are shown')} isChecked={all} onChange={(_event, on) => selection.set(new Map(on ? [...selection.chosen, ...rows.map((row): [string, R] => [id(row), row])] : []))} />
              </Th>
            )}
            {columns.map((column, index) => (
              <Th key={column.key} sort={sorting(column, index)}>
                {t(column.header)}
              </Th>
            ))}
            {actions && <Th className={actionClass} screenReaderText={t('Actions')} />}
          </Tr>
        </Thead>
        <Tbody>
          {before > 0 && <Spacer height={before} spans={spans} />}
          {here.map(({ index, key }) => {
            const row = rows[index - offset];
            if (row === undefined) return null;
            const chosen = selection?.chosen.has(id(row)) ?? false;
            return (
              <Tr key={key} aria-rowindex={index + 2} isRowSelected={chosen} className="x-row">
                {selection && (
                  <Td className={CHECK}>
                    <Checkbox id={`${own}-${index}`} aria-label={t('Select {{name}}', { name: name(row) })} isChecked={chosen} onChange={(_event, on) => toggle(row, on)} />
                  </Td>
                )}
                {columns.map((column) => (
                  <Td key={column.key} onMouseEnter={sayWhole}>
                    {column.cell(row)}
                  </Td>
                ))}
                {actions && (
                  <Td className={actionClass} isActionCell>
                    {actions(row)}
                  </Td>
                )}
              </Tr>
            );
          })}
          {after > 0 && <Spacer height={after} spans={spans} />}
        </Tbody>
      </Table>
    </div>
  );
}

/** The whole text of a cell that is cut off, for who points at it. */
function sayWhole({ currentTarget }: React.MouseEvent<HTMLElement>) {
  currentTarget.title = currentTarget.scrollWidth > currentTarget.clientWidth ? (currentTarget.textContent ?? '') : '';
}

function Spacer({ height, spans }: { height: number; spans: number }) {
  return (
    <tr aria-hidden>
      <td colSpan={spans} style={{ height, padding: 0, border: 0 }} />
    </tr>
  );
}
