import '@patternfly/react-core/dist/styles/base.css';
import './theme.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './App';
import { startLanguages } from './i18n';
import { startTheme } from './shell/theme';

startTheme();
const root = document.getElementById('root');
if (root) {
  void startLanguages().then(() =>
    createRoot(root).render(
      <StrictMode>
        <App />
      </StrictMode>,
    ),
  );
}
