// The top of a page about one thing: the way back, its name and state, what can be done with it.

import { Breadcrumb, BreadcrumbItem } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { PageTitle } from './PageTitle';

interface Props {
  /** The list that it is in: address and name. */
  up: [path: string, label: string];
  title: string;
  /** Beside the title. */
  labels?: React.ReactNode;
  /** Under the title. */
  below?: React.ReactNode;
  actions?: React.ReactNode;
}

export function PageHead({ up: [path, label], title, labels, below, actions }: Props) {
  const { t } = useTranslation();
  return (
    <>
      <Breadcrumb aria-label={t('Where this is')}>
        <BreadcrumbItem render={({ className }) => <Link className={className} to={path}>{label}</Link>} />
        <BreadcrumbItem isActive>{title}</BreadcrumbItem>
      </Breadcrumb>
      <div className="x-head">
        <div>
          <div className="x-title">
            <PageTitle>{title}</PageTitle>
            {labels}
          </div>
          {below && <div className="x-labels x-dim">{below}</div>}
        </div>
        {actions && <div className="x-head-actions">{actions}</div>}
      </div>
    </>
  );
}
