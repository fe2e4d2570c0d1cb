// Doing things: ask where it is dangerous, call, say what came of it. Every action can be copied as its command line
// and as its call.

import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useNavigate } from 'react-router';
import { refresh, useSocket } from '../api/client';
import type { MethodName, Methods } from '../api/generated';
import { tasks } from '../live/tasks';
import { undoOf } from '../rules/undo';
import { ConfirmAct } from './ConfirmAct';
import { CopyCall } from './CopyCall';
import { useToasts } from './toasts';

export interface Act<M extends MethodName = MethodName> {
  method: M;
  params: Methods[M]['params'];
  /** A short sentence in the present: “Start web-1”. */
  title: string;
  /** What takes it back, where that needs to know what was before; the rest is in `rules/undo`. */
  undo?: Pick<Act, 'method' | 'params'>;
}

export interface Question extends Act {
  /** What it means, in a sentence. */
  text: string;
  button: string;
  /** The name to type. */
  typeName?: string;
  /** Check boxes that set members of the parameters. */
  choices?: { field: string; label: string }[];
  done?: (result: unknown) => void;
}

interface Acts {
  /** Calls it; resolves with the result, or with nothing when it was refused: that is said, to `refused` where it is given. */
  run<M extends MethodName>(act: Act<M>, refused?: (error: unknown) => void): Promise<Methods[M]['result'] | undefined>;
  ask(question: Question): void;
  /** Several of one title are copied as as many lines, and as one batch. */
  copy(...acts: Act[]): void;
}

const ActsContext = createContext<Acts | undefined>(undefined);

export function useActs(): Acts {
  const acts = useContext(ActsContext);
  if (!acts) throw new Error('useActs outside of ActsProvider');
  return acts;
}

/** Their answer names a task that went on before and goes on after: they are done when they have answered. */
const OF_ANOTHER: MethodName[] = ['pool.pause_update', 'pool.resume_update'];

/** The task that a call has begun. */
export function taskOf(method: MethodName, result: unknown): string | undefined {
  if (OF_ANOTHER.includes(method)) return undefined;
  const task = (result as { task?: unknown } | null)?.task;
  return typeof task === 'string' ? task : undefined;
}

export function ActsProvider({ children }: { children: React.ReactNode }) {
  const { t } = useTranslation();
  const socket = useSocket();
  const navigate = useNavigate();
  const { say, fail } = useToasts();
  const [question, setQuestion] = useState<Question>();
  const [copied, setCopied] = useState<Act[]>([]);

  const again = useRef<Acts['run']>(undefined);

  const run = useCallback(
    async <M extends MethodName>({ method, params, title, undo }: Act<M>, refused?: (error: unknown) => void): Promise<Methods[M]['result'] | undefined> => {
      try {
        const result = await socket.call(method, params);
        const noun = method.split('.')[0] ?? '';
        const task = taskOf(method, result);
        const back = undo ?? undoOf(method, params, result);
        const takeBack = back && { label: t('Undo'), go: () => void again.current?.({ ...back, title: t('Undo: {{title}}', { title }) }) };
        if (!task) {
          refresh(noun, 'system');
          say({ variant: 'success', title: t('Done: {{title}}', { title }), look: takeBack });
          return result;
        }
        refresh(noun, 'task');
        const look = { label: t('Show the task'), go: () => void navigate(`/tasks/${task}`) };
        tasks.expect(task, (ended) => {
          const variant = ended.status === 'done' ? 'success' : 'danger';
          const words: Record<string, string> = {
            done: t('Done: {{title}}', { title }),
            'rolled-back': t('Rolled back: {{title}}', { title }),
            parked: t('Parked, waits for you: {{title}}', { title }),
          };
          say({
            key: task,
            variant,
            title: words[ended.status] ?? t('Abandoned: {{title}}', { title }),
            text: ended.status === 'done' ? undefined : (ended.message ?? undefined),
            look: ended.status === 'done' ? takeBack : look,
          });
        });
        return result;
      } catch (error) {
        if (refused) refused(error);
        else fail(t('Not done: {{title}}', { title }), error);
        return undefined;
      }
    },
    [socket, say, fail, t, navigate],
  );

  useEffect(() => {
    again.current = run;
  }, [run]);

  const acts = useMemo<Acts>(() => ({ run, ask: setQuestion, copy: (...acts) => setCopied(acts) }), [run]);
  return (
    <ActsContext.Provider value={acts}>
      {children}
      {question && <ConfirmAct question={question} close={() => setQuestion(undefined)} />}
      {copied[0] && <CopyCall title={copied[0].title} acts={copied} close={() => setCopied([])} />}
    </ActsContext.Provider>
  );
}
