// One verb for many rows: the plan first, which can be copied as commands, then a result for each.

import { Button, Form, ModalBody, ModalFooter, ModalHeader, Progress } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { refresh, useSocket } from '../api/client';
import { messageOf } from '../api/errors';
import { useTasks } from '../live/tasks';
import { taskOf, useActs, type Act } from '../parts/acts';
import { Modal } from '../parts/Modal';
import { TaskLabel } from '../parts/state';
import { TypeName } from '../parts/TypeName';
import { WaitsFor } from '../parts/WaitsFor';
import { over } from '../parts/words';

export interface BulkItem {
  id: string;
  name: string;
  /** What is called for it; without, `cannot` says why it is left out. */
  act?: Act;
  /** Why it is left out. */
  cannot?: string;
}

interface Props {
  title: string;
  text?: string;
  button: string;
  danger?: boolean;
  items: BulkItem[];
  /** What it asks for first, until it begins. */
  children?: React.ReactNode;
  close(): void;
}

type Result = { task?: string; error?: string; done?: true };

/** So many calls at once: a fleet is not to be started in one moment. */
const AT_ONCE = 8;

export function Bulk({ title, text, button, danger, items: asked, children, close }: Props) {
  const { t } = useTranslation();
  const socket = useSocket();
  const tasks = useTasks();
  const { copy } = useActs();
  const [results, setResults] = useState<Record<string, Result>>();
  const [typed, setTyped] = useState('');
  // What was begun is what is told of, whatever becomes of the rows meanwhile.
  const [begun, setBegun] = useState<BulkItem[]>();
  const items = begun ?? asked;
  const able = items.flatMap(({ id, act, cannot }) => (act && !cannot ? [{ id, act }] : []));
  // Many are lost as easily as one: their number is typed where one asks for its name.
  const ready = able.length > 0 && (!danger || typed.trim() === String(able.length));

  const go = async () => {
    setBegun(items);
    setResults({});
    const left = [...able];
    const note = (id: string, result: Result) => setResults((before) => ({ ...before, [id]: result }));
    const worker = async () => {
      for (let item = left.shift(); item; item = left.shift()) {
        try {
          const { method, params } = item.act;
          const task = taskOf(method, await socket.call(method, params));
          note(item.id, task ? { task } : { done: true });
        } catch (error) {
          note(item.id, { error: messageOf(error, t) });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    refresh(...new Set(able.map(({ act }) => act.method.split('.')[0] ?? '')), 'task', 'system');
  };

  const taskFor = (id: string) => tasks.find((task) => task.id === results?.[id]?.task);
  const finished = able.filter(({ id }) => {
    const result = results?.[id];
    const task = taskFor(id);
    return result?.error || result?.done || (task && over(task.status));
  }).length;

  const outcome = (item: BulkItem) => {
    if (item.cannot) return <span className="x-dim">{t('Left out: {{why}}', { why: t(item.cannot) })}</span>;
    const result = results?.[item.id];
    if (!result) return results ? t('Waiting') : t('Will be done');
    if (result.error) return <span className="x-bad">{result.error}</span>;
    if (result.done) return t('Done');
    const task = taskFor(item.id);
    return (
      <span className="x-labels">
        <TaskLabel status={task?.status ?? 'running'} />
        {task?.message && <span className="x-wrap">{task.message}</span>}
      </span>
    );
  };

  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby="bulk-title">
      <ModalHeader title={title} labelId="bulk-title" titleIconVariant={danger && !results ? 'warning' : undefined} description={text} />
      <ModalBody tabIndex={0} aria-labelledby="bulk-title">
        {!results && children}
        {results && (
          <Progress
            aria-label={title}
            value={able.length === 0 ? 100 : (finished / able.length) * 100}
            label={t('{{done}} of {{total}}', { done: finished, total: able.length })}
            className="x-gap"
          />
        )}
        <Table variant="compact" aria-label={title} borders={false}>
          <Thead>
            <Tr>
              <Th width={40}>{t('Name')}</Th>
              <Th>{results ? t('Result') : t('Plan')}</Th>
            </Tr>
          </Thead>
          <Tbody>
            {items.map((item) => (
              <Tr key={item.id}>
                <Td>{item.name}</Td>
                <Td>{outcome(item)}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
        {danger && !results && able.length > 0 && (
          <Form
            id="bulk-form"
            className="x-above"
            onSubmit={(event) => {
              event.preventDefault();
              if (ready) void go();
            }}
          >
            <TypeName id="bulk-count" name={String(able.length)} value={typed} set={setTyped} autoFocus inputMode="numeric" />
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {results ? (
          <Button onClick={close}>{t('Close')}</Button>
        ) : (
          <>
            <Button variant={danger ? 'danger' : 'primary'} isDisabled={!ready} onClick={() => void go()}>
              {button}
            </Button>
            <Button variant="secondary" isDisabled={able.length === 0} onClick={() => copy(...able.map(({ act }) => ({ ...act, title })))}>
              {t('Copy as …')}
            </Button>
            <Button variant="link" onClick={close}>
              {t('Cancel')}
            </Button>
            {able.length > 0 && <WaitsFor form="bulk-form" ready={ready} />}
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}
