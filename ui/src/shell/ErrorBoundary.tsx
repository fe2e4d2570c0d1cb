// A screen that breaks does not take the rest with it, nor the screen that is gone to next.

import { Component, type ReactNode } from 'react';
import { ApiError } from '../api/errors';
import { Failed } from '../parts/feedback';

interface Props {
  /** The address: at another one it is tried anew. */
  at: string;
  children: ReactNode;
}

export class ErrorBoundary extends Component<Props, { error?: unknown }> {
  state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  componentDidUpdate(before: Props) {
    if (before.at !== this.props.at && this.state.error !== undefined) this.setState({ error: undefined });
  }

  // A part of the program that could not be fetched, of an older version as a rule, is not fetched again by showing it again.
  private readonly again = () => {
    if (this.state.error instanceof ApiError) this.setState({ error: undefined });
    else location.reload();
  };

  render() {
    if (this.state.error === undefined) return this.props.children;
    return <Failed error={this.state.error} retry={this.again} />;
  }
}
