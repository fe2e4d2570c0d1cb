// What was done to a guest so that it boots here, or why not.

import { Card, CardBody, CardTitle, CodeBlock, CodeBlockCode, ExpandableSection, List, ListItem } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import type { GuestPreparation } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { Facts } from '../../parts/Facts';

const OUTCOME: Record<string, string> = {
  prepared: msg('It was made ready'),
  unchanged: msg('It was ready as it is'),
  skipped: msg('It was left as it is'),
  failed: msg('It failed: the disks are as they were copied'),
  'half-written': msg('It broke off in the middle: try again'),
  declined: msg('Somebody decided to go on without'),
};

export function Preparation({ preparation }: { preparation: GuestPreparation }) {
  const { t } = useTranslation();
  const { outcome, message, os, changes = [], warnings = [], log = [] } = preparation;
  const said = OUTCOME[outcome];
  const lines = (label: string, list: string[]) =>
    list.length > 0 && (
      <List isPlain aria-label={label} className="x-above">
        {list.map((line) => (
          <ListItem key={line}>{line}</ListItem>
        ))}
      </List>
    );
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Preparation of the guest')}</CardTitle>
      <CardBody>
        <Facts facts={[[t('Outcome'), said ? t(said) : outcome], [t('Guest'), os], !!message && [t('Message'), message]]} />
        {lines(t('Changes'), changes)}
        {lines(t('Warnings'), warnings)}
        {log.length > 0 && (
          <ExpandableSection toggleText={t('What the helper VM said')}>
            <CodeBlock>
              <CodeBlockCode>{log.join('\n')}</CodeBlockCode>
            </CodeBlock>
          </ExpandableSection>
        )}
      </CardBody>
    </Card>
  );
}
