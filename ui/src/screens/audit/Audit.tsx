// Who asked for what. The chain of hashes can be checked from here.

import { Button, ClipboardCopy, CodeBlock, CodeBlockCode, Label, ModalBody, ModalHeader } from '@patternfly/react-core';
import AuditIcon from '@patternfly/react-icons/dist/esm/icons/clipboard-list-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../../api/client';
import type { AuditPhase, AuditRecord, AuditVerified } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Modal } from '../../parts/Modal';
import { useToasts } from '../../parts/toasts';

const PHASE: Record<AuditPhase, { label: string; color: 'blue' | 'green' | 'red' | 'orange' }> = {
  asked: { label: msg('Asked'), color: 'blue' },
  begun: { label: msg('Begun'), color: 'blue' },
  done: { label: msg('Done'), color: 'green' },
  failed: { label: msg('Failed'), color: 'red' },
  cancelled: { label: msg('Cancelled'), color: 'orange' },
  refused: { label: msg('Refused'), color: 'orange' },
};

export default function Audit() {
  const { t } = useTranslation();
  const format = useFormat();
  const [shown, setShown] = useState<AuditRecord>();
  const { wanted, bar, list } = useListState('-sequence');
  const pages = usePages('audit.list', wanted, 10_000);
  const columns = useMemo((): Column<AuditRecord>[] => [
    { key: 'sequence', header: msg('No.'), sort: 'sequence', width: 4.5, cell: (record) => record.sequence, text: (record) => String(record.sequence) },
    { key: 'at', header: msg('When'), width: 11, cell: (record) => format.stamp(record.at), text: (record) => record.at },
    { key: 'user', header: msg('Who'), width: 8, cell: (record) => record.user_name || '—', text: (record) => record.user_name },
    {
      key: 'method',
      header: msg('What'),
      cell: (record) => (
        <Button variant="link" isInline onClick={() => setShown(record)}>
          <code>{record.method}</code>
        </Button>
      ),
      text: (record) => record.method,
    },
    {
      key: 'phase',
      header: msg('Result'),
      width: 7,
      cell: (record) => (
        <Label isCompact variant="outline" color={PHASE[record.phase].color}>
          {t(PHASE[record.phase].label)}
        </Label>
      ),
      text: (record) => record.phase,
    },
    { key: 'outcome', header: msg('Outcome'), wide: true, cell: (record) => record.outcome ?? '—', text: (record) => record.outcome ?? '' },
    { key: 'from', header: msg('From'), width: 9, wide: true, cell: (record) => record.from, text: (record) => record.from },
    { key: 'params', header: msg('With'), optional: true, cell: (record) => <code>{JSON.stringify(record.params)}</code>, text: (record) => JSON.stringify(record.params) },
    { key: 'hash', header: msg('Hash'), optional: true, cell: (record) => <code>{record.hash}</code>, text: (record) => record.hash },
  ], [format, t]);
  return (
    <>
      <ListView
        title={t('Audit log')}
        about={t('Who asked for what, in a chain of hashes that nobody changes unseen.')}
        noun="audit"
        columns={columns}
        pages={pages}
        id={(record) => record.id}
        name={(record) => record.method}
        {...list}
        query={<QueryBar {...bar} noun="audit" label={t('Filter the audit log')} placeholder={t('Filter: user:anna method:vm. phase:failed, or words')} />}
        create={<Verify />}
        empty={<Nothing icon={AuditIcon} title={t('Nothing has been asked for yet')} />}
      />
      {shown && <Details record={shown} close={() => setShown(undefined)} />}
    </>
  );
}

function Verify() {
  const { t } = useTranslation();
  const format = useFormat();
  const socket = useSocket();
  const { fail } = useToasts();
  const [busy, setBusy] = useState(false);
  const [found, setFound] = useState<AuditVerified>();
  const verify = async () => {
    setBusy(true);
    try {
      setFound(await socket.call('audit.verify', {}));
    } catch (error) {
      fail(t('The audit log was not checked'), error);
    } finally {
      setBusy(false);
    }
  };
  const whole = found && found.broken_at == null;
  return (
    <>
      <Button variant="secondary" isLoading={busy} onClick={() => void verify()}>
        {t('Verify the chain')}
      </Button>
      {found && (
        <Modal isOpen variant="small" onClose={() => setFound(undefined)} aria-labelledby="verify-title">
          <ModalHeader title={t('The audit log')} labelId="verify-title" />
          <ModalBody>
            <Alert
              isInline
              className="x-gap"
              variant={whole ? 'success' : 'danger'}
              title={whole ? t('Whole: {{count}} records', { count: found.records }) : t('Broken at record {{number}}', { number: format.number(found.broken_at ?? 0) })}
            >
              {whole ? t('Every record fits the one before.') : found.problem}
            </Alert>
            <p className="x-gap">{t('The newest hash. Write it down elsewhere: it proves later that nothing was cut off.')}</p>
            <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('The newest hash')}>
              {found.head}
            </ClipboardCopy>
          </ModalBody>
        </Modal>
      )}
    </>
  );
}

function Details({ record, close }: { record: AuditRecord; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby="record-title">
      <ModalHeader title={t('Record {{number}}', { number: format.number(record.sequence) })} labelId="record-title" />
      <ModalBody tabIndex={0} aria-labelledby="record-title">
        <Facts
          facts={[
            [t('When'), format.date(record.at)],
            [t('Who'), record.user_name],
            [t('From'), record.from],
            [t('What'), <code key="m">{record.method}</code>],
            [t('Result'), t(PHASE[record.phase].label)],
            [t('Outcome'), record.outcome],
            record.of != null && [t('Completes record'), format.number(record.of)],
            [t('Hash'), <code key="h">{record.hash}</code>],
            [t('The one before'), <code key="p">{record.previous}</code>],
          ]}
        />
        <CodeBlock className="x-above">
          <CodeBlockCode>{JSON.stringify(record.params, null, 2)}</CodeBlockCode>
        </CodeBlock>
      </ModalBody>
    </Modal>
  );
}
