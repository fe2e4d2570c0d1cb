// Two-factor sign-in.
export const factor: Record<string, string> = {
  'Two-factor sign-in': 'Connexion à deux facteurs',
  'Two-factor': 'Deux facteurs',
  'Your role asks for two-factor sign-in. Set it up: until then, nothing else is open to you.':
    'Votre rôle demande la connexion à deux facteurs. Mettez-la en place : d’ici là, rien d’autre ne vous est ouvert.',
  on: 'activée',
  off: 'désactivée',
  'Besides your password, signing in then asks for a code of an authenticator app on your phone. Who learns your password alone cannot come in.':
    'En plus de votre mot de passe, la connexion demande alors un code d’une application d’authentification sur votre téléphone. Qui n’apprend que votre mot de passe n’entre pas.',
  'Signing in asks for a code of your authenticator app after the password. API tokens are not asked.':
    'Après le mot de passe, la connexion demande un code de votre application d’authentification. Rien n’est demandé aux jetons d’API.',
  'Set up': 'Mettre en place',
  'Make a secret for your authenticator app': 'Créer un secret pour votre application d’authentification',
  'Your password': 'Votre mot de passe',
  'Go on': 'Continuer',
  'Let your authenticator app read this picture, or type the secret into it. It is shown only now.':
    'Faites lire cette image à votre application d’authentification, ou saisissez-y le secret. Il n’est montré que maintenant.',
  'The secret as a QR code': 'Le secret sous forme de code QR',
  Secret: 'Secret',
  'Code that the app shows now': 'Code que l’application montre maintenant',
  'Turn two-factor sign-in on': 'Activer la connexion à deux facteurs',
  'Turn on': 'Activer',
  'Recovery codes': 'Codes de secours',
  'They are shown only now. Put them on paper.': 'Ils ne sont montrés que maintenant. Notez-les sur papier.',
  'Each signs in once without the app. Who has lost the app and the codes needs an administrator.':
    'Chacun connecte une fois sans l’application. Qui a perdu l’application et les codes a besoin d’un administrateur.',
  'I have kept them': 'Je les ai gardés',
  'Save as a file': 'Enregistrer dans un fichier',
  'Turn two-factor sign-in off': 'Désactiver la connexion à deux facteurs',
  'Turn off': 'Désactiver',
  'Your password alone signs in then. The recovery codes are worth nothing any more.': 'Votre mot de passe seul suffit alors. Les codes de secours ne valent plus rien.',
  'Turn the two-factor sign-in of {{name}} off': 'Désactiver la connexion à deux facteurs de {{name}}',
  'Turn off your own on the page “My account”.': 'Désactivez la vôtre sur la page « Mon compte ».',
  'It is off.': 'Elle est désactivée.',
  'The password alone signs in then. Make sure that it is the user who asks: whoever has the password would like it, too.':
    'Le mot de passe seul suffit alors. Assurez-vous que c’est bien l’utilisateur qui le demande : qui a le mot de passe le voudrait aussi.',
  'Code of {{name}}': 'Code de {{name}}',
  'The six digits that your authenticator app shows, or a recovery code.': 'Les six chiffres que montre votre application d’authentification, ou un code de secours.',
  'Sign in as somebody else': 'Se connecter sous un autre nom',
};
