import SearchIcon from '@patternfly/react-icons/dist/esm/icons/search-icon';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { Nothing } from '../parts/feedback';

export function Missing() {
  const { t } = useTranslation();
  return (
    <Nothing icon={SearchIcon} title={t('There is no such page')} action={<Link to="/">{t('Go to the home page')}</Link>}>
      {t('The address may be mistyped, or from another version.')}
    </Nothing>
  );
}
