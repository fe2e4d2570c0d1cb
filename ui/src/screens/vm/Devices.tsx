// What a VM has several of, in a small table: each with what can be done with it, and a button for one more.

import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Nothing } from '../../parts/feedback';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';

interface Column<T> {
  /** Translated, like every text here. */
  header: string;
  cell(device: T): React.ReactNode;
  /** Long words may be broken. */
  wrap?: boolean;
}

interface Props<T> {
  label: string;
  devices: readonly T[];
  columns: Column<T>[];
  idOf(device: T): string;
  nameOf(device: T): string;
  verbs(device: T): Verb[];
  /** Adds one. */
  add: React.ReactNode;
  /** What is shown where there is none. */
  none: { icon: React.ComponentType; title: string; text: string };
}

export function Devices<T>({ label, devices, columns, idOf, nameOf, verbs, add, none }: Props<T>) {
  const { t } = useTranslation();
  if (devices.length === 0) {
    return (
      <Nothing icon={none.icon} title={none.title} action={add}>
        {none.text}
      </Nothing>
    );
  }
  return (
    <>
      <div className="x-head-actions x-gap">{add}</div>
      <Table variant="compact" aria-label={label}>
        <Thead>
          <Tr>
            {columns.map(({ header }) => (
              <Th key={header}>{header}</Th>
            ))}
            <Th screenReaderText={t('Actions')} />
          </Tr>
        </Thead>
        <Tbody>
          {devices.map((device) => (
            <Tr key={idOf(device)}>
              {columns.map(({ header, cell, wrap }) => (
                <Td key={header} dataLabel={header} className={wrap ? 'x-wrap' : undefined}>
                  {cell(device)}
                </Td>
              ))}
              <Td isActionCell>
                <VerbMenu name={nameOf(device)} verbs={verbs(device)} />
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
    </>
  );
}
