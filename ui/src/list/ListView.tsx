// A list as a screen has it: query, columns, CSV, selection, the table, and what is shown instead of it.
//
// What always holds: the button that makes one, and the query bar while there is one, stay the elements that they are
// while the list comes. One that is replaced between press and release of the mouse loses the click.

import { Button, Content, PageSection, Title, Toolbar, ToolbarContent, ToolbarGroup, ToolbarItem, Tooltip } from '@patternfly/react-core';
import DownloadIcon from '@patternfly/react-icons/dist/esm/icons/download-icon';
import { useDeferredValue, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError } from '../api/errors';
import { useFormat } from '../parts/format';
import { ErrorBox, Failed, Loading } from '../parts/feedback';
import { PageTitle } from '../parts/PageTitle';
import { useToasts } from '../parts/toasts';
import { useNarrow, useUrlState } from '../parts/url';
import { ColumnChooser } from './ColumnChooser';
import { csv, download, shown, type Column } from './columns';
import type { Pages } from './pages';
import { Views } from './Views';
import { VirtualTable, type Selection } from './VirtualTable';

interface Props<R> {
  title: string;
  /** A sentence under the title. */
  about?: string;
  /** Names the CSV file. */
  noun: string;
  columns: Column<R>[];
  pages: Pages<R>;
  id(row: R): string;
  name(row: R): string;
  /** The query bar. */
  query?: React.ReactNode;
  filtered?: boolean;
  clear?(): void;
  sort?: string;
  setSort?(sort: string): void;
  selection?: Selection<R>;
  bulk?: React.ReactNode;
  actions?(row: R): React.ReactNode;
  menu?: boolean;
  /** The button that makes one; `empty` needs none of its own. */
  create?: React.ReactNode;
  extra?: React.ReactNode;
  empty: React.ReactNode;
  heading?: 'h1' | 'h2';
}

export function ListView<R>(props: Props<R>) {
  const { title, about, noun, columns, pages, id, name, query, selection, bulk, actions, create, extra, empty } = props;
  const { t } = useTranslation();
  const format = useFormat();
  const narrow = useNarrow();
  const { fail } = useToasts();
  const [chosen, choose] = useUrlState('cols');
  const [saving, setSaving] = useState(false);
  const visible = useMemo(() => shown(columns, chosen, narrow), [columns, chosen, narrow]);
  // Together: a row's place follows from both.
  const stretch = useMemo(() => ({ rows: pages.rows, offset: pages.offset ?? 0 }), [pages.rows, pages.offset]);
  const { rows, offset } = useDeferredValue(stretch);
  const end = offset + rows.length;
  // What has come and is not shown yet is not nothing.
  const loading = pages.pending || (rows.length === 0 && pages.rows.length > 0);
  const wrong = pages.error instanceof ApiError && pages.error.data.field === 'filter' ? pages.error : undefined;

  // With the connection lost, the strip above says how old all is.
  const old = pages.error instanceof ApiError && !wrong && rows.length > 0 && pages.error.reason !== 'unreachable' ? pages.error : undefined;

  const save = async () => {
    setSaving(true);
    try {
      download(`${noun}.csv`, csv(visible, await pages.everything(), t));
    } catch (error) {
      fail(t('The list was not saved'), error);
    } finally {
      setSaving(false);
    }
  };

  const body = () => {
    if (loading) return <Loading lines={10} />;
    if (pages.error && !wrong && rows.length === 0) return <Failed error={pages.error} retry={pages.retry} />;
    if (rows.length === 0 && !wrong) {
      return props.filtered ? (
        <div className="x-pad x-center">
          <Title headingLevel="h2" size="lg">
            {t('Nothing matches')}
          </Title>
          <Content component="p" className="x-dim">
            {t('No entry passes the filter.')}
          </Content>
          {props.clear && (
            <Button variant="link" onClick={props.clear}>
              {t('Clear the filter')}
            </Button>
          )}
        </div>
      ) : (
        <div className="x-none">{empty}</div>
      );
    }
    return (
      <VirtualTable
        label={title}
        columns={visible}
        rows={rows}
        id={id}
        name={name}
        total={pages.total}
        offset={offset}
        more={pages.more}
        back={pages.back}
        sort={props.sort}
        setSort={props.setSort}
        selection={narrow ? undefined : selection}
        actions={actions}
        menu={props.menu}
      />
    );
  };

  // Nothing to filter, count or save.
  const bare = !loading && rows.length === 0 && !props.filtered && !wrong;
  const tools = (
    <ToolbarGroup align={{ default: 'alignEnd' }} gap={{ default: 'gapSm' }} alignItems="center">
      {extra}
      {query && !narrow && (
        <ToolbarItem>
          <Views noun={noun} />
        </ToolbarItem>
      )}
      <ToolbarItem alignSelf="center" className="x-count" aria-live="polite">
        {loading
          ? ''
          : end < pages.total
            ? t('{{here}} of {{total}}', { here: format.number(end), total: format.number(pages.total) })
            : format.number(pages.total)}
      </ToolbarItem>
      <ToolbarItem>
        <Tooltip content={t('Save as CSV: everything that passes the filter')}>
          <Button variant="plain" aria-label={t('Save as CSV')} icon={<DownloadIcon />} isLoading={saving} onClick={() => void save()} />
        </Tooltip>
      </ToolbarItem>
      <ToolbarItem>
        <ColumnChooser columns={columns} shown={visible} choose={choose} />
      </ToolbarItem>
    </ToolbarGroup>
  );
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-list">
      <div className="x-head">
        <div>
          {props.heading === 'h2' ? (
            <Title headingLevel="h2" size="lg">
              {title}
            </Title>
          ) : (
            <PageTitle>{title}</PageTitle>
          )}
          {about && (
            <Content component="p" className="x-dim">
              {about}
            </Content>
          )}
        </div>
        <div className="x-head-actions">
          {!query && !bare && <Toolbar isStatic className="x-toolbar" inset={{ default: 'insetNone' }}><ToolbarContent>{tools}</ToolbarContent></Toolbar>}
          {create}
        </div>
      </div>
      {!bare && (query || selection?.chosen.size) && (
        <Toolbar className="x-toolbar" inset={{ default: 'insetNone' }}>
          <ToolbarContent>
            {query && <ToolbarItem className="x-grow">{query}</ToolbarItem>}
            {selection && selection.chosen.size > 0 && (
              <ToolbarGroup>
                <ToolbarItem alignSelf="center">{t('{{count}} selected', { count: selection.chosen.size })}</ToolbarItem>
                <ToolbarItem>{bulk}</ToolbarItem>
              </ToolbarGroup>
            )}
            {query && tools}
          </ToolbarContent>
        </Toolbar>
      )}
      {wrong && <ErrorBox error={wrong} />}
      {old && <ErrorBox error={old} title={t('The list could not be read again')} retry={pages.retry} />}
      {body()}
    </PageSection>
  );
}
