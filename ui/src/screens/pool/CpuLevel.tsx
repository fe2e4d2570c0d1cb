// What VMs that start in a pool are given of the processors' features, and how its hosts differ from that
// (docs/adr/0088-cpu-levels.md).

import { Card, CardBody, CardTitle } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Pool } from '../../api/generated';
import { FALLBACK_MS } from '../../live/again';
import { Facts } from '../../parts/Facts';
import { ErrorBox, Loading } from '../../parts/feedback';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { SetCpuLevel } from './CpuLevelForm';
import { HostLevels, useLevels } from './HostLevels';
import { LEVEL } from './words';

export function CpuLevel({ pool }: { pool: Pool }) {
  const { t } = useTranslation();
  const user = useUser();
  const [changing, setChanging] = useState(false);
  // It follows from what hosts have, of which nobody tells by itself.
  const read = useRead('pool.cpu_level', { pool: pool.id }, { every: FALLBACK_MS });
  const levels = useLevels(read.data?.levels ?? []);
  const why = mayNot(user, 'pool.set_cpu_level', { pool: pool.id });
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('CPU level')}</CardTitle>
      <CardBody>
        {read.isPending && <Loading lines={3} />}
        {read.isError && <ErrorBox error={read.error} retry={() => void read.refetch()} />}
        {read.data && (
          <>
            <Facts facts={[[t('VMs get'), t(LEVEL[read.data.mode.kind].label)], ...levels]} />
            <p className="x-dim">{t(LEVEL[read.data.mode.kind].text)}</p>
            <p className="x-above">
              <WhyButton variant="secondary" why={why} go={() => setChanging(true)}>
                {t('Change the level')}
              </WhyButton>
            </p>
            <HostLevels hosts={read.data.hosts} />
            {changing && <SetCpuLevel pool={pool} status={read.data} close={() => setChanging(false)} />}
          </>
        )}
      </CardBody>
    </Card>
  );
}
