// What cannot be pressed says why to everybody, and does nothing.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import { serious, show } from '../testing/show';
import { WhyButton } from './WhyButton';

describe('a button', () => {
  it('is reached by the keys and says why it cannot be pressed', async () => {
    const go = vi.fn();
    await show(<WhyButton why="This needs the role admin." go={go}>Do it</WhyButton>);
    const button = screen.getByRole('button', { name: 'Do it' });
    expect(button.getAttribute('aria-disabled')).toBe('true');
    expect(button.getAttribute('aria-description')).toBe('This needs the role admin.');
    expect(await serious()).toEqual([]);
    await userEvent.tab();
    expect(document.activeElement).toBe(button);
    await userEvent.click(button);
    expect(go).not.toHaveBeenCalled();
  });

  it('is one that is pressed where nothing speaks against it', async () => {
    const go = vi.fn();
    await show(<WhyButton go={go}>Do it</WhyButton>);
    await userEvent.click(screen.getByRole('button', { name: 'Do it' }));
    expect(go).toHaveBeenCalledOnce();
  });
});
