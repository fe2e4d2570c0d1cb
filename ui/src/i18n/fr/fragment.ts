// Fragments of user data, and what a deployment makes of them.
export const fragment: Record<string, string> = {
  Fragments: 'Fragments',
  'What cloud-init is told alike in many VMs: packages, users, scripts. Templates and deployments name them.':
    'Ce que cloud-init apprend de même dans beaucoup de VM : paquets, utilisateurs, scripts. Modèles et déploiements les nomment.',
  'Filter fragments': 'Filtrer les fragments',
  'Filter: kind:script age:<7d, or words': 'Filtre : kind:script age:<7d, ou des mots',
  'No fragments yet': 'Pas encore de fragments',
  'Keep a #cloud-config or a script once, then let templates name it: each VM that is made from them gets it.':
    'Gardez une fois un #cloud-config ou un script, puis que des modèles le nomment : chaque VM qui en vient le reçoit.',
  'Create a fragment': 'Créer un fragment',
  'Create the fragment {{name}}': 'Créer le fragment {{name}}',
  'Change the fragment {{name}}': 'Changer le fragment {{name}}',
  'Delete the fragment {{name}}': 'Supprimer le fragment {{name}}',
  'Its text is lost. VMs that were made with it stay as they are.': 'Son texte est perdu. Les VM faites avec lui restent telles quelles.',
  'Templates that name it': 'Modèles qui le nomment',
  'Templates name it: take it out of those first.': 'Des modèles le nomment : retirez-le d’abord de ceux-ci.',
  'Cloud-config': 'Cloud-config',
  Script: 'Script',
  Boothook: 'Boothook',
  'Merged with the others of its kind: of two values the later one holds, and lists are joined.':
    'Fusionné avec les autres de son genre : de deux valeurs, la dernière vaut, et les listes sont jointes.',
  'Runs once, at the end of the first boot, behind the scripts before it.': 'Tourne une fois, à la fin du premier démarrage, après les scripts qui le précèdent.',
  'Runs early in every boot.': 'Tourne au début de chaque démarrage.',
  'A fragment has 64 KiB at most.': 'Un fragment a 64 KiB au plus.',
  'The first line has to be #cloud-config, a script’s #! or #cloud-boothook; below “## template: jinja”, the second one of the first two.':
    'La première ligne doit être #cloud-config, le #! d’un script ou #cloud-boothook ; sous « ## template: jinja », la deuxième, de l’un des deux premiers.',
  'You cannot see what fragments say': 'Vous ne pouvez pas voir ce que disent les fragments',
  'VMs that were made with it stay as they are; those that are made from now on get what it says then.':
    'Les VM faites avec lui restent telles quelles ; celles faites désormais reçoivent ce qu’il dit alors.',
  'Somebody has changed it meanwhile': 'Quelqu’un l’a changé entre-temps',
  'What you save takes the place of theirs. Open it again to see what it says now.':
    'Ce que vous enregistrez remplace le sien. Rouvrez-le pour voir ce qu’il dit maintenant.',
  Text: 'Texte',
  'Given to the guest as it is; ${name}, ${hostname} and the variables of a deployment in it are replaced. Who may make VMs in the pool may read it: a secret of one VM is better a variable.':
    'Donné tel quel à l’invité ; ${name}, ${hostname} et les variables d’un déploiement y sont remplacés. Qui peut faire des VM dans le pool peut le lire : le secret d’une seule VM est mieux dans une variable.',
  'Nothing is changed yet.': 'Rien n’est encore changé.',

  'Choose its fragments': 'Choisir ses fragments',
  'What cloud-init is told in each VM made from it.': 'Ce que cloud-init apprend dans chaque VM qui en vient.',
  'The fragments of {{name}}': 'Les fragments de {{name}}',
  'Each VM that is made from it from now on gets them, in this order. VMs that are there stay as they are.':
    'Chaque VM qui en vient désormais les reçoit, dans cet ordre. Les VM déjà là restent telles quelles.',
  'Of two values the later one holds; lists are joined; scripts run in this order.': 'De deux valeurs, la dernière vaut ; les listes sont jointes ; les scripts tournent dans cet ordre.',
  'It has no fragments: only what a deployment says.': 'Il n’a pas de fragments : seulement ce que dit un déploiement.',
  'Fragment to add': 'Fragment à ajouter',
  'Choose a fragment': 'Choisir un fragment',
  'No other fragment in this pool': 'Pas d’autre fragment dans ce pool',
  'Move {{name}} up': 'Monter {{name}}',
  'Move {{name}} down': 'Descendre {{name}}',
  'Take {{name}} out': 'Retirer {{name}}',

  'Nor does it get the fragments of the template.': 'Il ne reçoit pas non plus les fragments du modèle.',
  'Behind those of the template: {{names}}. Of two values the later one holds, and what is said below holds before all.':
    'Après ceux du modèle : {{names}}. De deux valeurs, la dernière vaut, et ce qui est dit plus bas vaut avant tout.',
  'Of two values the later one holds, and what is said below holds before all.': 'De deux valeurs, la dernière vaut, et ce qui est dit plus bas vaut avant tout.',
  Variables: 'Variables',
  'KEY=VALUE, one a line. In the texts: {{places}}. What has no value here is left as it is, for scripts have their own.':
    'CLÉ=VALEUR, une par ligne. Dans les textes : {{places}}. Ce qui n’a pas de valeur ici reste tel quel, car les scripts ont les leurs.',
  'A variable is KEY=VALUE, one a line; a key has letters, digits and _.': 'Une variable est CLÉ=VALEUR, une par ligne ; une clé a des lettres, des chiffres et _.',
  'A variable is there twice.': 'Une variable est là deux fois.',
  '${name} and ${hostname} are the VM’s own; use other names.': '${name} et ${hostname} sont ceux de la VM ; prenez d’autres noms.',
  'A variable is in none of the texts; it would be refused.': 'Une variable n’est dans aucun des textes ; elle serait refusée.',
  'Beside fragments, begin it with #cloud-config, a script’s #! or #cloud-boothook.': 'À côté de fragments, commencez par #cloud-config, le #! d’un script ou #cloud-boothook.',
  'A VM gets 32 fragments at most.': 'Une VM reçoit 32 fragments au plus.',
  'Of this VM alone': 'De cette VM seule',
  'Not read yet.': 'Pas encore lu.',
};
