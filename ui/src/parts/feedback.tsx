// What a screen shows when it has nothing, not yet, or something went wrong.

import { Bullseye, Button, EmptyState, EmptyStateActions, EmptyStateBody, EmptyStateFooter, List, ListItem, Skeleton } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { ApiError, messageOf, nextStep } from '../api/errors';
import { Alert } from './Alert';

export function ErrorBox({ error, title, retry }: { error: unknown; title?: string; retry?: () => void }) {
  const { t } = useTranslation();
  const detail = error instanceof ApiError ? [...(error.data.detail ?? []), ...(error.data.candidates ?? [])] : [];
  return (
    <Alert
      isInline
      variant="danger"
      title={title ?? messageOf(error, t)}
      actionLinks={
        retry && (
          <Button variant="link" isInline onClick={retry}>
            {t('Try again')}
          </Button>
        )
      }
    >
      {title && <p>{messageOf(error, t)}</p>}
      {detail.length > 0 && (
        <List>
          {detail.map((line) => (
            <ListItem key={line}>{line}</ListItem>
          ))}
        </List>
      )}
      <p>{t(nextStep(error))}</p>
    </Alert>
  );
}

interface NothingProps {
  icon?: React.ComponentType;
  title: string;
  children?: React.ReactNode;
  action?: React.ReactNode;
}

export function Nothing({ icon, title, children, action }: NothingProps) {
  return (
    <EmptyState headingLevel="h2" icon={icon} titleText={title} variant="lg">
      <EmptyStateBody>{children}</EmptyStateBody>
      {action && (
        <EmptyStateFooter>
          <EmptyStateActions>{action}</EmptyStateActions>
        </EmptyStateFooter>
      )}
    </EmptyState>
  );
}

export function Loading({ lines = 6 }: { lines?: number }) {
  const { t } = useTranslation();
  return (
    <div role="status" aria-label={t('Loading')} className="x-loading">
      {Array.from({ length: lines }, (_, index) => (
        <Skeleton key={index} width={`${90 - ((index * 17) % 40)}%`} height="1.25rem" />
      ))}
    </div>
  );
}

/** A screen that could not be read: the error in the middle, and how to go on. `up` is the list that it would be in. */
export function Failed({ error, up, retry }: { error: unknown; up?: [path: string, label: string]; retry?: () => void }) {
  return (
    <Bullseye className="x-pad">
      <div className="x-narrow x-stack">
        <ErrorBox error={error} retry={retry} />
        {up && <Link to={up[0]}>{up[1]}</Link>}
      </div>
    </Bullseye>
  );
}
