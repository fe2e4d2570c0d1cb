// The words of waves: VMs of a source that move together.

import { useTranslation } from 'react-i18next';
import type { Wave, WaveStatus, WaveStep } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';

type Color = 'green' | 'blue' | 'grey' | 'red' | 'orange';

export const STATUS: Record<WaveStatus, { label: string; color: Color }> = {
  planned: { label: msg('Planned'), color: 'grey' },
  running: { label: msg('Running'), color: 'blue' },
  paused: { label: msg('Paused'), color: 'orange' },
  done: { label: msg('Done'), color: 'green' },
};

export const STEP: Record<WaveStep, { label: string; color: Color }> = {
  waiting: { label: msg('Waiting'), color: 'grey' },
  moving: { label: msg('Moving'), color: 'blue' },
  following: { label: msg('Follows the source'), color: 'blue' },
  stuck: { label: msg('Stuck'), color: 'orange' },
  refused: { label: msg('Could not begin'), color: 'red' },
  moved: { label: msg('Moved'), color: 'green' },
  'rolled-back': { label: msg('Rolled back'), color: 'grey' },
};

/** How much of it is here, 0 to 1. */
export const part = ({ moved_mib, total_mib }: Wave): number => (total_mib > 0 ? Math.min(1, moved_mib / total_mib) : 0);

export const moved = ({ members }: Wave): number => members.filter(({ step }) => step === 'moved').length;

/** Why a wave cannot be deleted; marked. */
export function keeps({ status }: Wave): string | undefined {
  return status === 'running' ? msg('Pause it first.') : undefined;
}

export function useWaveVerbs() {
  const { t } = useTranslation();
  const user = useUser();
  return (wave: Wave): Verb[] => {
    const params = { wave: wave.id };
    const over = wave.status === 'done' ? msg('It is done.') : undefined;
    const { name } = wave;
    return [
      { label: t('Begin'), why: mayNot(user, 'wave.start') ?? over ?? (wave.status === 'running' ? msg('It runs already.') : undefined), act: { method: 'wave.start', params, title: t('Begin the wave {{name}}', { name }) } },
      { label: t('Pause'), why: mayNot(user, 'wave.pause') ?? (wave.status === 'running' ? undefined : msg('It does not run.')), note: t('What has begun goes on.'), act: { method: 'wave.pause', params, title: t('Pause the wave {{name}}', { name }) } },
      {
        label: t('Delete'),
        danger: true,
        why: mayNot(user, 'wave.delete') ?? keeps(wave),
        act: { method: 'wave.delete', params, title: t('Delete the wave {{name}}', { name }) },
        question: { text: t('What it moved stays; what has not begun does not begin.'), button: t('Delete'), typeName: name },
      },
    ];
  };
}
