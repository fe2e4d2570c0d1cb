import { Badge, Button } from '@patternfly/react-core';
import ClosedIcon from '@patternfly/react-icons/dist/esm/icons/angle-right-icon';
import OpenIcon from '@patternfly/react-icons/dist/esm/icons/angle-down-icon';
import { useTranslation } from 'react-i18next';

interface Props {
  /** For who does not see it. */
  name: string;
  icon: React.ReactNode;
  children: React.ReactNode;
  count?: number;
  open?: boolean;
  /** Without it, a leaf. */
  toggle?(on: boolean): void;
  branches?: React.ReactNode;
}

/** A line of a tree: what it is, and what hangs on it once it is opened. */
export function Branch({ name, icon, children, count, open, toggle, branches }: Props) {
  const { t } = useTranslation();
  return (
    <li>
      <div className="x-node">
        {toggle ? (
          <Button variant="plain" size="sm" icon={open ? <OpenIcon /> : <ClosedIcon />} aria-expanded={!!open} aria-label={t('What is in {{name}}', { name })} onClick={() => toggle(!open)} />
        ) : (
          <span className="x-node-leaf" />
        )}
        <span aria-hidden className="x-dim">
          {icon}
        </span>
        <span className="x-labels">{children}</span>
        {count !== undefined && <Badge isRead>{count}</Badge>}
      </div>
      {open && <ul className="x-plain x-branches">{branches}</ul>}
    </li>
  );
}
