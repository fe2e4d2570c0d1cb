// Files that are sent from the browser.
export const upload: Record<string, string> = {
  'Upload a file': 'Envoyer un fichier',
  'Upload a file as a disk': 'Envoyer un fichier comme disque',
  Upload: 'Envoyer',
  'A raw disk or an ISO image. It goes on after an interruption, as long as this page is open.':
    'Un disque brut ou une image ISO. L’envoi reprend après une interruption, tant que cette page est ouverte.',
  File: 'Fichier',
  'This is {{name}}, and would be kept as it is': 'C’est du {{name}}, qui serait gardé tel quel',
  'Unpack it first.': 'Décompressez-le d’abord.',
  'The command line reads it, and sends what is in it:': 'La ligne de commande le lit, et envoie ce qu’il contient :',
  'Uploading {{name}}': 'Envoi de {{name}}',
  'The upload of {{name}} stands': 'L’envoi de {{name}} est arrêté',
  'Go on with it': 'Le reprendre',
  'Cancel the upload': 'Annuler l’envoi',
  'Cancel the upload of {{name}}': 'Annuler l’envoi de {{name}}',
};
