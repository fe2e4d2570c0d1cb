// What this page sends, on every screen: how far it is, why it stands, and its end.

import { AlertActionLink, Progress } from '@patternfly/react-core';
import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { messageOf } from '../api/errors';
import { uploads, useUploads, type Upload } from '../live/uploads';
import { useActs } from '../parts/acts';
import { Alert } from '../parts/Alert';
import { useFormat } from '../parts/format';

const ask = (event: BeforeUnloadEvent) => event.preventDefault();

export function UploadBanner() {
  const list = useUploads();
  const some = list.length > 0;
  useEffect(() => {
    if (!some) return;
    addEventListener('beforeunload', ask);
    return () => removeEventListener('beforeunload', ask);
  }, [some]);
  return list.map((upload) => <Sending key={upload.id} upload={upload} />);
}

function Sending({ upload }: { upload: Upload }) {
  const { t } = useTranslation();
  const format = useFormat();
  const { run } = useActs();
  const { id, task, name, size, done, error } = upload;
  const title = error === undefined ? t('Uploading {{name}}', { name }) : t('The upload of {{name}} stands', { name });
  const cancel = async () => {
    uploads.end(id);
    await run({ method: 'task.cancel', params: { task }, title: t('Cancel the upload of {{name}}', { name }) });
  };
  return (
    <Alert
      isInline
      variant={error === undefined ? 'info' : 'warning'}
      className="x-banner"
      title={title}
      actionLinks={
        <>
          {error !== undefined && <AlertActionLink onClick={() => void uploads.goOn(id)}>{t('Go on with it')}</AlertActionLink>}
          <AlertActionLink onClick={() => void cancel()}>{t('Cancel the upload')}</AlertActionLink>
        </>
      }
    >
      {error !== undefined && <p>{messageOf(error)}</p>}
      <Progress size="sm" measureLocation="outside" aria-label={title} value={size > 0 ? (done / size) * 100 : 0} label={t('{{done}} of {{total}}', { done: format.bytes(done), total: format.bytes(size) })} />
    </Alert>
  );
}
