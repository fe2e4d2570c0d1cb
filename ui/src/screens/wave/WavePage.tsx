// One wave: how far each of its VMs is, and what holds it up.

import { Card, CardBody, CardTitle, Label, PageSection, Progress } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import type { Wave } from '../../api/generated';
import { Facts } from '../../parts/Facts';
import { FALLBACK_MS } from '../../live/again';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { moved, part, STATUS, STEP, useWaveVerbs } from './words';

export default function WavePage() {
  const { t } = useTranslation();
  const format = useFormat();
  const navigate = useNavigate();
  const verbs = useWaveVerbs();
  const { wave: id = '' } = useParams();
  const read = useRead('wave.get', { wave: id }, { every: FALLBACK_MS });
  const wave = there(read);
  if (read.isPending) return <Loading />;
  if (!wave) return <Failed error={read.error} up={['/waves', t('Waves')]} retry={() => void read.refetch()} />;
  const leaving = (verb: Verb): Verb => (verb.question ? { ...verb, question: { ...verb.question, done: () => void navigate('/waves') } } : verb);
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/waves', t('Waves')]}
        title={wave.name}
        labels={<Label isCompact variant="outline" color={STATUS[wave.status].color}>{t(STATUS[wave.status].label)}</Label>}
        actions={<VerbMenu name={wave.name} labelled verbs={verbs(wave).map(leaving)} />}
      />
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('Progress')}</CardTitle>
          <CardBody>
            <Progress size="sm" title={t('VMs moved: {{done}} of {{total}}', { done: moved(wave), total: wave.members.length })} value={part(wave) * 100} label={format.percent(part(wave))} />
            <p className="x-dim">{t('{{done}} of {{total}}', { done: format.mib(wave.moved_mib), total: format.mib(wave.total_mib) })}</p>
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('At the same time')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('VMs'), wave.caps.overall || t('as usual')],
                [t('From one host of the source'), wave.caps.per_host || t('as usual')],
                [t('From one datastore'), wave.caps.per_datastore || t('as usual')],
                [t('To one host here'), wave.caps.per_target || t('as usual')],
                [t('To one SR here'), wave.caps.per_sr || t('as usual')],
                [t('Created'), format.date(wave.created)],
                [t('Ended'), format.date(wave.ended)],
              ]}
            />
          </CardBody>
        </Card>
      </div>
      <Members wave={wave} />
    </PageSection>
  );
}

function Members({ wave }: { wave: Wave }) {
  const { t } = useTranslation();
  const format = useFormat();
  return (
    <Table variant="compact" aria-label={t('VMs')}>
      <Thead>
        <Tr>
          <Th width={25}>{t('Name')}</Th>
          <Th width={20}>{t('State')}</Th>
          <Th width={15}>{t('To move')}</Th>
          <Th>{t('Message')}</Th>
        </Tr>
      </Thead>
      <Tbody>
        {wave.members.map((member) => (
          <Tr key={member.vm}>
            <Td dataLabel={t('Name')}>{member.import ? <Link to={`/imports/${member.import}`}>{member.name}</Link> : member.name}</Td>
            <Td dataLabel={t('State')}>
              <Label isCompact variant="outline" color={STEP[member.step].color}>
                {t(STEP[member.step].label)}
              </Label>
            </Td>
            <Td dataLabel={t('To move')}>{format.mib(member.transfer_mib)}</Td>
            <Td dataLabel={t('Message')} className="x-wrap">
              {member.message ?? '—'}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
