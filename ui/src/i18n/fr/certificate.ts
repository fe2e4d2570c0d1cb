// Certificates.
export const certificate: Record<string, string> = {
  'Who shows what to whom. What the authority signs is renewed at half of its life, without anybody.':
    'Qui montre quoi à qui. Ce que signe l’autorité est renouvelé à la moitié de sa durée, sans personne.',
  Valid: 'Valide',
  'Ends soon': 'Expire bientôt',
  'Has ended': 'A expiré',
  'What browsers and the command line are shown': 'Ce qui est montré aux navigateurs et à la ligne de commande',
  'files of an administrator': 'des fichiers d’un administrateur',
  'our own authority': 'notre propre autorité',
  'Renew it in its files: they are read again within an hour, without a restart. A pair that does not fit changes nothing.':
    'Renouvelez-le dans ses fichiers : ils sont relus dans l’heure, sans redémarrage. Une paire qui ne va pas ensemble ne change rien.',
  'A browser warns of it until the authority is trusted there. To show another: certificate and key in the settings file of the orchestrator.':
    'Un navigateur avertit tant que l’autorité n’y est pas approuvée. Pour en montrer un autre : certificate et key dans le fichier de réglages de l’orchestrateur.',
  'It cannot be read.': 'Il ne peut pas être lu.',
  'It signs the certificates of the orchestrator and of the hosts. Compare its digits with what the orchestrator printed when it started, before you trust it.':
    'Elle signe les certificats de l’orchestrateur et des hôtes. Comparez ses chiffres avec ce que l’orchestrateur a affiché au démarrage, avant de l’approuver.',
  'Save its certificate': 'Enregistrer son certificat',
  'Certificates of hosts': 'Certificats des hôtes',
  'The {{shown}} of {{all}} that end first.': 'Les {{shown}} sur {{all}} qui expirent les premiers.',
  'A host whose certificate has ended joins anew with a token; its VMs run on. One that is removed is refused at once.':
    'Un hôte dont le certificat a expiré rejoint à nouveau avec un jeton ; ses VM continuent. Un hôte retiré est refusé tout de suite.',
  'The certificate of this page ends {{when}}: renew its files': 'Le certificat de cette page expire {{when}} : renouvelez ses fichiers',
};
