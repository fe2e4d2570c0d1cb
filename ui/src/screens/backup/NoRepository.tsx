import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { Alert } from '../../parts/Alert';

/** Where a repository is to be chosen and there is none: what to do, and the way there. */
export function NoRepository() {
  const { t } = useTranslation();
  return (
    <Alert isInline isPlain variant="info" title={t('There is no repository yet; add one first.')}>
      <Link to="/repositories">{t('Repositories')}</Link>
    </Alert>
  );
}
