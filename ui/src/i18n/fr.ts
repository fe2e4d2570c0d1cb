// French. Loaded only when it is chosen.

import { access } from './fr/access';
import { alarm } from './fr/alarm';
import { backup } from './fr/backup';
import { certificate } from './fr/certificate';
import { common } from './fr/common';
import { cpu } from './fr/cpu';
import { factor } from './fr/factor';
import { files } from './fr/files';
import { fragment } from './fr/fragment';
import { hardware } from './fr/hardware';
import { hosts } from './fr/hosts';
import { imports } from './fr/import';
import { mail } from './fr/mail';
import { metrics } from './fr/metrics';
import { network } from './fr/network';
import { orphan } from './fr/orphan';
import { places } from './fr/places';
import { power } from './fr/power';
import { standby } from './fr/standby';
import { storage } from './fr/storage';
import { template } from './fr/template';
import { upload } from './fr/upload';
import { vm } from './fr/vm';
import { vsphere } from './fr/vsphere';
import { wave } from './fr/wave';

const all: Record<string, string> = { ...common, ...places, ...access, ...imports, ...storage, ...template, ...fragment, ...vm, ...vsphere, ...backup, ...hardware, ...wave, ...metrics, ...alarm, ...standby, ...mail, ...factor, ...orphan, ...files, ...network, ...certificate, ...upload, ...hosts, ...power, ...cpu };

// French says millions in a form of its own, which here is never another.
const millions = Object.entries(all).filter(([key]) => key.endsWith('_other'));

export const fr: Record<string, string> = {
  ...all,
  ...Object.fromEntries(millions.map(([key, text]) => [key.replace(/_other$/, '_many'), text])),
};
