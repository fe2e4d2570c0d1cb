// The button that closes a dialog is called so in the language of the page.

import { ModalBody } from '@patternfly/react-core';
import { render, screen } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';
import { choose, startLanguages } from '../i18n';
import { Modal } from './Modal';

describe('a dialog', () => {
  it('is closed by a word that is understood', async () => {
    await startLanguages('en');
    await choose('fr', false);
    const close = vi.fn();
    render(
      <Modal isOpen onClose={close} aria-label="Question">
        <ModalBody>?</ModalBody>
      </Modal>,
    );
    (await screen.findByRole('button', { name: 'Fermer' })).click();
    expect(close).toHaveBeenCalled();
    expect(screen.queryByRole('button', { name: 'Close' })).toBeNull();
    await choose('en', false);
  });
});
