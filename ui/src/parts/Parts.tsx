import { Tab, Tabs, TabTitleText } from '@patternfly/react-core';
import type { MouseEvent, ReactNode } from 'react';

interface Props {
  /** Of the page: the shown part gets the id `<of>-part`. */
  of: string;
  label: string;
  /** Key and title; what stands behind them is not ours. */
  parts: readonly (readonly [key: string, title: string, ...rest: unknown[]])[];
  shown: string;
  address: (key: string) => string;
  go: (key: string) => void;
  children: ReactNode;
}

/** The parts of a page as tabs. Each has an address, to be opened in another window. */
export function Parts({ of, label, parts, shown, address, go, children }: Props) {
  const id = `${of}-part`;
  // In the place of `onSelect`, which a tab's own `onClick` takes the place of. With a key held the browser opens a window.
  const open = (key: string) => (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(key);
  };
  return (
    <>
      <Tabs activeKey={shown} aria-label={label} component="nav">
        {parts.map(([key, title]) => (
          <Tab key={key} eventKey={key} tabContentId={id} href={address(key)} onClick={open(key)} title={<TabTitleText>{title}</TabTitleText>} />
        ))}
      </Tabs>
      <div className="x-tab" id={id}>
        {children}
      </div>
    </>
  );
}
