// A console in a window of its own: several can stand side by side.

import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { useParams } from 'react-router';
import { refresh, useFollow, useRead } from '../api/client';
import type { ConsoleKind } from '../api/generated';
import { Failed, Loading } from '../parts/feedback';
import { HostShell } from './HostShell';
import { VmConsole } from './VmConsole';

export default function Window() {
  const { noun = '', id = '', kind = 'serial' } = useParams();
  return <main className="x-window">{noun === 'host' ? <OfHost id={id} /> : <OfVm id={id} kind={kind === 'vnc' ? 'vnc' : 'serial'} />}</main>;
}

function useTitle(name: string | undefined) {
  const { t } = useTranslation();
  useEffect(() => {
    if (name) document.title = t('{{name}}: console', { name });
    return () => {
      document.title = 'Xenith';
    };
  }, [name, t]);
}

function OfVm({ id, kind }: { id: string; kind: ConsoleKind }) {
  const read = useRead('vm.get', { vm: id });
  useFollow('vm.subscribe', { filter: `id:${id}`, only_changes: true }, () => refresh('vm'), { started: () => refresh('vm') });
  useTitle(read.data?.name);
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  return (
    <>
      <h1 className="x-window-title">{read.data.name}</h1>
      <VmConsole vm={read.data} first={kind} alone />
    </>
  );
}

function OfHost({ id }: { id: string }) {
  const read = useRead('host.get', { host: id });
  useTitle(read.data?.name);
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  return (
    <>
      <h1 className="x-window-title">{read.data.name}</h1>
      <HostShell host={read.data} alone />
    </>
  );
}
