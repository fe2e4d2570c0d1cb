import { createContext, useContext } from 'react';
import type { User } from '../api/generated';

/** Who is signed in. */
export const UserContext = createContext<User | undefined>(undefined);

export function useUser(): User {
  const user = useContext(UserContext);
  if (!user) throw new Error('useUser outside of the shell');
  return user;
}
