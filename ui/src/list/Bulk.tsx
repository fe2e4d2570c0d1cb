// One verb for many rows: the plan first, which can be copied as commands, then a result for each.

import { Button, Modal, ModalBody, ModalFooter, ModalHeader, Progress } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSocket } from '../api/client';
import { messageOf } from '../api/errors';
import type { MethodName, Methods } from '../api/generated';
import { useTasks } from '../live/tasks';
import { useActs } from '../parts/acts';
import { TaskLabel } from '../parts/state';
import { over } from '../parts/words';

export interface BulkItem {
  id: string;
  name: string;
  /** Why it is left out. */
  cannot?: string;
}

interface Props {
  title: string;
  text?: string;
  button: string;
  danger?: boolean;
  method: MethodName;
  params(id: string): object;
  items: BulkItem[];
  close(): void;
}

type Result = { task?: string; error?: string; done?: true };

/** So many calls at once: a fleet is not to be started in one moment. */
const AT_ONCE = 8;

export function Bulk({ title, text, button, danger, method, params, items, close }: Props) {
  const { t } = useTranslation();
  const socket = useSocket();
  const tasks = useTasks();
  const { copy } = useActs();
  const [results, setResults] = useState<Record<string, Result>>();
  const able = items.filter((item) => !item.cannot);

  const go = async () => {
    setResults({});
    const left = [...able];
    const note = (id: string, result: Result) => setResults((before) => ({ ...before, [id]: result }));
    const worker = async () => {
      for (let item = left.shift(); item; item = left.shift()) {
        try {
          const answer = (await socket.call(method, params(item.id) as Methods[MethodName]['params'])) as { task?: string };
          note(item.id, answer.task ? { task: answer.task } : { done: true });
        } catch (error) {
          note(item.id, { error: messageOf(error) });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  };

  const taskOf = (id: string) => tasks.find((task) => task.id === results?.[id]?.task);
  const finished = able.filter(({ id }) => {
    const result = results?.[id];
    const task = taskOf(id);
    return result?.error || result?.done || (task && over(task.status));
  }).length;

  const outcome = (item: BulkItem) => {
    if (item.cannot) return <span className="x-dim">{t('Left out: {{why}}', { why: t(item.cannot) })}</span>;
    const result = results?.[item.id];
    if (!result) return results ? t('Waiting') : t('Will be done');
    if (result.error) return <span className="x-bad">{result.error}</span>;
    if (result.done) return t('Done');
    const task = taskOf(item.id);
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
      </ModalBody>
      <ModalFooter>
        {results ? (
          <Button onClick={close}>{t('Close')}</Button>
        ) : (
          <>
            <Button variant={danger ? 'danger' : 'primary'} isDisabled={able.length === 0} onClick={() => void go()}>
              {button}
            </Button>
            <Button variant="secondary" isDisabled={able.length === 0} onClick={() => copy(...able.map(({ id }) => ({ method, params: params(id) as Methods[MethodName]['params'], title })))}>
              {t('Copy as …')}
            </Button>
            <Button variant="link" onClick={close}>
              {t('Cancel')}
            </Button>
          </>
        )}
      </ModalFooter>
    </Modal>
  );
}
