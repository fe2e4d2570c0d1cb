// What an alert is is said in the language of the page.

import { render, screen } from '@testing-library/react';
import { describe, expect, it } from 'vitest';
import { choose, startLanguages } from '../i18n';
import { Alert } from './Alert';

describe('an alert', () => {
  it('says what it is in words', async () => {
    await startLanguages('en');
    render(<Alert variant="danger" title="It burns" />);
    expect(screen.getByText('Error:')).toBeTruthy();
    await choose('fr', false);
    expect(await screen.findByText('Erreur :')).toBeTruthy();
    expect(screen.queryByText(/alert:/i)).toBeNull();
    await choose('en', false);
  });
});
