// A dialog whose closing button is called so in the language of the page: PatternFly calls it “Close” in every language,
// and takes no other word.

import { Modal as Plain, type ModalProps } from '@patternfly/react-core';
import { useEffect, useRef } from 'react';
import { useTranslation } from 'react-i18next';

export function Modal({ children, ...props }: Omit<ModalProps, 'ref'>) {
  return (
    <Plain {...props}>
      {children}
      <CloseWord />
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
