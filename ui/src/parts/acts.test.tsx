// After an act it is said what came of it; where the API can take it back, that is offered.

import { screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { serious, show } from '../testing/show';
import { useActs, type Act } from './acts';

function Button({ act }: { act: Act }) {
  const { run } = useActs();
  return <button onClick={() => void run(act)}>go</button>;
}

const undo = () => screen.findByRole('button', { name: 'Undo' });

describe('an act', () => {
  it('is taken back by its opposite, which is not offered to be taken back by a second message', async () => {
    const act: Act = { method: 'host.set_maintenance', params: { host: 'h', maintenance: true }, title: 'Maintenance of xen1' };
    const shown = await show(<Button act={act} />, { answers: { 'host.set_maintenance': {} as never } });
    await userEvent.click(screen.getByText('go'));
    expect(await screen.findByText(/Done: Maintenance of xen1/)).toBeTruthy();
    expect(await serious()).toEqual([]);
    await userEvent.click(await undo());
    expect(await screen.findByText(/Done: Undo: Maintenance of xen1/)).toBeTruthy();
    expect(shown.calls('host.set_maintenance')).toEqual([{ host: 'h', maintenance: true }, { host: 'h', maintenance: false }]);
    expect(screen.queryByText(/Done: Maintenance of xen1/)).toBeNull();
  });

  it('that changed fields is taken back with what they were', async () => {
    const act: Act = { method: 'security_group.set_rules', params: { group: 'g', ingress: [] }, title: 'Rules', undo: { method: 'security_group.set_rules', params: { group: 'g', ingress: ['any'] } } };
    const shown = await show(<Button act={act} />, { answers: { 'security_group.set_rules': {} as never } });
    await userEvent.click(screen.getByText('go'));
    await userEvent.click(await undo());
    expect(shown.calls('security_group.set_rules').at(-1)).toEqual({ group: 'g', ingress: ['any'] });
  });

  it('that nothing takes back offers nothing', async () => {
    const act: Act = { method: 'user.delete', params: { user: 'a' }, title: 'Delete anna' };
    await show(<Button act={act} />, { answers: { 'user.delete': {} } });
    await userEvent.click(screen.getByText('go'));
    await screen.findByText(/Done: Delete anna/);
    expect(screen.queryByRole('button', { name: 'Undo' })).toBeNull();
  });
});
