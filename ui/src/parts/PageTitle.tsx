import { Title } from '@patternfly/react-core';
import { useEffect } from 'react';
import { arrived } from './arrival';

/** The name of the page: its first heading, and that of the browser's tab. */
export function PageTitle({ children }: { children: string }) {
  useEffect(() => {
    document.title = `${children} · Xenith`;
    arrived(children);
    return () => {
      document.title = 'Xenith';
    };
  }, [children]);
  return (
    <Title headingLevel="h1" size="2xl">
      {children}
    </Title>
  );
}
