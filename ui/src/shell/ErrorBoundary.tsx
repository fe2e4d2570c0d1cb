import { Component, type ReactNode } from 'react';
import { Failed } from '../parts/feedback';

/** A screen that breaks does not take the rest with it. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  render() {
    if (this.state.error === undefined) return this.props.children;
    return <Failed error={this.state.error} retry={() => this.setState({ error: undefined })} />;
  }
}
