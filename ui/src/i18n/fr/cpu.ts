// CPU levels of pools.
export const cpu: Record<string, string> = {
  'CPU level': 'Niveau de processeur',
  'CPU level of {{name}}': 'Niveau de processeur de {{name}}',
  'CPU features': 'Fonctions du processeur',
  'VMs get': 'Les VM reçoivent',
  'No level': 'Aucun niveau',
  'Each VM gets all that its host has, and goes as it runs to hosts of the same model only.':
    'Chaque VM reçoit tout ce qu’a son hôte, et ne va en marche que vers des hôtes du même modèle.',
  'What all hosts have': 'Ce qu’ont tous les hôtes',
  'Of one maker among themselves. It falls when a host joins that has less.': 'Ceux d’un même fabricant entre eux. Il baisse quand arrive un hôte qui a moins.',
  'These features': 'Ces fonctions',
  'No more than these, also where hosts have more: those of a host that is to come, for example.':
    'Pas plus que celles-ci, même là où les hôtes ont plus : celles d’un hôte à venir, par exemple.',
  'Change the level': 'Changer le niveau',
  'At most, of {{maker}}': 'Au plus, de {{maker}}',
  'What its hosts have': 'Ce qu’ont ses hôtes',
  'Processors of': 'Processeurs de',
  'Hidden from VMs': 'Caché aux VM',
  'Lacks of the level': 'Manque au niveau',
  'it does not tell': 'il ne le dit pas',
  'It counts for VMs that start from now on. One that runs keeps what it has until it is shut down and started; a reboot from inside changes nothing.':
    'Il vaut pour les VM qui démarrent désormais. Une VM en marche garde ce qu’elle a jusqu’à ce qu’elle soit éteinte puis démarrée ; un redémarrage de l’intérieur ne change rien.',
  'As this host has them': 'Comme les a cet hôte',
  'Others, given below': 'D’autres, données ci-dessous',
  'As the page of a host has them: GenuineIntel:178bfbff:…, eight words in all.':
    'Comme sur la page d’un hôte : GenuineIntel:178bfbff:…, huit mots en tout.',
  'The level': 'Le niveau',
  'No VM that runs has more than that': 'Aucune VM en marche n’a plus que cela',
  '{{count}} VMs have more than that until they are shut down and started_one': '{{count}} VM a plus que cela jusqu’à ce qu’elle soit éteinte puis démarrée',
  '{{count}} VMs have more than that until they are shut down and started_other': '{{count}} VM ont plus que cela jusqu’à ce qu’elles soient éteintes puis démarrées',
  'VMs that other hosts have started do not go to: {{names}}': 'Les VM que d’autres hôtes ont démarrées ne vont pas vers : {{names}}',
  'They lack features of the level.': 'Il leur manque des fonctions du niveau.',
};
