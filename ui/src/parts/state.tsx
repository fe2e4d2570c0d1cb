// Small labels that say what something is doing, by word and icon, never by colour alone.

import { Label, Spinner } from '@patternfly/react-core';
import BanIcon from '@patternfly/react-icons/dist/esm/icons/ban-icon';
import CheckIcon from '@patternfly/react-icons/dist/esm/icons/check-icon';
import ExclamationIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon';
import WarningIcon from '@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon';
import InfoIcon from '@patternfly/react-icons/dist/esm/icons/info-circle-icon';
import MoonIcon from '@patternfly/react-icons/dist/esm/icons/moon-icon';
import PauseIcon from '@patternfly/react-icons/dist/esm/icons/pause-icon';
import PlayIcon from '@patternfly/react-icons/dist/esm/icons/play-icon';
import QuestionIcon from '@patternfly/react-icons/dist/esm/icons/question-circle-icon';
import StopIcon from '@patternfly/react-icons/dist/esm/icons/power-off-icon';
import UndoIcon from '@patternfly/react-icons/dist/esm/icons/undo-icon';
import { useTranslation } from 'react-i18next';
import type { HostStatus, Power, Severity, TaskStatus } from '../api/generated';
import { HOST_STATUS, POWER, SEVERITY, TASK_STATUS } from './words';

const spinner = <Spinner size="sm" aria-hidden />;

const POWER_ICON: Record<Power, React.ReactNode> = {
  running: <PlayIcon />,
  paused: <PauseIcon />,
  stopped: <StopIcon />,
  suspended: <MoonIcon />,
  crashed: <ExclamationIcon />,
  starting: spinner,
  stopping: spinner,
  suspending: spinner,
  resuming: spinner,
  unknown: <QuestionIcon />,
};

export function PowerLabel({ power }: { power: Power }) {
  const { t } = useTranslation();
  const { label, color } = POWER[power];
  return (
    <Label isCompact variant="outline" color={color} icon={POWER_ICON[power]}>
      {t(label)}
    </Label>
  );
}

export function HostLabel({ status, maintenance }: { status: HostStatus; maintenance?: boolean }) {
  const { t } = useTranslation();
  const { label, color } = HOST_STATUS[status];
  const icon = status === 'connected' ? <CheckIcon /> : status === 'enrolling' ? spinner : <ExclamationIcon />;
  return (
    <span className="x-labels">
      <Label isCompact variant="outline" color={color} icon={icon}>
        {t(label)}
      </Label>
      {maintenance && (
        <Label isCompact variant="outline" color="orange" icon={<WarningIcon />}>
          {t('Maintenance')}
        </Label>
      )}
    </span>
  );
}

const TASK_ICON: Record<TaskStatus, React.ReactNode> = {
  running: spinner,
  'rolling-back': <UndoIcon />,
  done: <CheckIcon />,
  'rolled-back': <ExclamationIcon />,
  parked: <WarningIcon />,
  abandoned: <BanIcon />,
};

export function TaskLabel({ status }: { status: TaskStatus }) {
  const { t } = useTranslation();
  const { label, color } = TASK_STATUS[status];
  return (
    <Label isCompact variant="outline" color={color} icon={TASK_ICON[status]}>
      {t(label)}
    </Label>
  );
}

const SEVERITY_ICON = { info: <InfoIcon />, warning: <WarningIcon />, error: <ExclamationIcon /> };

export function SeverityLabel({ severity }: { severity: Severity }) {
  const { t } = useTranslation();
  const { label, color } = SEVERITY[severity];
  return (
    <Label isCompact variant="outline" color={color} icon={SEVERITY_ICON[severity]}>
      {t(label)}
    </Label>
  );
}

export function Tags({ tags }: { tags: string[] }) {
  if (tags.length === 0) return <span className="x-dim">—</span>;
  return (
    <span className="x-labels">
      {tags.map((tag) => (
        <Label key={tag} isCompact>
          {tag}
        </Label>
      ))}
    </span>
  );
}
