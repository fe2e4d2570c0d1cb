// A dialog that the browser's Back closes, and whose closing button is called so in the language of the page: PatternFly
// calls it “Close” in every language, and takes no other word.

import { Modal as Plain, type ModalProps } from '@patternfly/react-core';
import { useEffect, useRef } from 'react';
import { useTranslation } from 'react-i18next';
import { useInRouterContext } from 'react-router';
import { BackCloses } from './BackCloses';

export function Modal({ children, ...props }: Omit<ModalProps, 'ref'>) {
  const routed = useInRouterContext();
  const { onClose } = props;
  return (
    <Plain {...props}>
      {children}
      <CloseWord />
      {routed && onClose && <BackCloses close={() => onClose(new KeyboardEvent('keydown', { key: 'Escape' }))} />}
    </Plain>
  );
}

function CloseWord() {
  const { t } = useTranslation();
  const here = useRef<HTMLSpanElement>(null);
  const word = t('Close');
  useEffect(() => {
    here.current?.closest('.pf-v6-c-modal-box')?.querySelector('.pf-v6-c-modal-box__close button')?.setAttribute('aria-label', word);
  }, [word]);
  return <span ref={here} hidden />;
}
