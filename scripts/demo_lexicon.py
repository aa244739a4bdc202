"""The words of the demo translator: English on the left, German on the right.

A line of nouns is ``english [plural] = German gender [plural] [weak]``; what has no German plural
is not counted. A line of verbs is ``base [past [participle]] [preposition] = infinitive [(du er)]
[participle] [sein]``, with ``|`` behind a separable prefix; what is left out is regular. A line of
adjectives is ``english = deutsch [comparative]``.
"""

NOUNS = {
    "person": """
man men = Mann m Männer
woman women = Frau f Frauen
child children = Kind n Kinder
boy = Junge m Jungen weak
girl = Mädchen n Mädchen
baby = Baby n Babys
father = Vater m Väter
mother = Mutter f Mütter
brother = Bruder m Brüder
sister = Schwester f Schwestern
son = Sohn m Söhne
daughter = Tochter f Töchter
uncle = Onkel m Onkel
aunt = Tante f Tanten
grandmother = Großmutter f Großmütter
grandfather = Großvater m Großväter
friend = Freund m Freunde
neighbor = Nachbar m Nachbarn weak
guest = Gast m Gäste
teacher = Lehrer m Lehrer
doctor = Arzt m Ärzte
student = Student m Studenten weak
farmer = Bauer m Bauern weak
cook = Koch m Köche
baker = Bäcker m Bäcker
gardener = Gärtner m Gärtner
painter = Maler m Maler
singer = Sänger m Sänger
lawyer = Anwalt m Anwälte
policeman policemen = Polizist m Polizisten weak
colleague = Kollege m Kollegen weak
tourist = Tourist m Touristen weak
artist = Künstler m Künstler
king = König m Könige
queen = Königin f Königinnen
thief thieves = Dieb m Diebe
""",
    "animal": """
dog = Hund m Hunde
cat = Katze f Katzen
horse = Pferd n Pferde
cow = Kuh f Kühe
bird = Vogel m Vögel
mouse mice = Maus f Mäuse
pig = Schwein n Schweine
bear = Bär m Bären weak
lion = Löwe m Löwen weak
elephant = Elefant m Elefanten weak
monkey = Affe m Affen weak
rabbit = Kaninchen n Kaninchen
duck = Ente f Enten
goat = Ziege f Ziegen
snake = Schlange f Schlangen
frog = Frosch m Frösche
wolf wolves = Wolf m Wölfe
fox = Fuchs m Füchse
donkey = Esel m Esel
""",
    "food": """
apple = Apfel m Äpfel
orange = Orange f Orangen
banana = Banane f Bananen
pear = Birne f Birnen
egg = Ei n Eier
cake = Kuchen m Kuchen
potato potatoes = Kartoffel f Kartoffeln
tomato tomatoes = Tomate f Tomaten
carrot = Karotte f Karotten
cookie = Keks m Kekse
sausage = Wurst f Würste
onion = Zwiebel f Zwiebeln
strawberry = Erdbeere f Erdbeeren
cherry = Kirsche f Kirschen
lemon = Zitrone f Zitronen
nut = Nuss f Nüsse
bread = Brot n
cheese = Käse m
meat = Fleisch n
fish = Fisch m
rice = Reis m
soup = Suppe f
butter = Butter f
chocolate = Schokolade f
honey = Honig m
""",
    "drink": """
water = Wasser n
milk = Milch f
coffee = Kaffee m
tea = Tee m
beer = Bier n
wine = Wein m
juice = Saft m
""",
    "text": """
book = Buch n Bücher
letter = Brief m Briefe
newspaper = Zeitung f Zeitungen
story = Geschichte f Geschichten
poem = Gedicht n Gedichte
report = Bericht m Berichte
message = Nachricht f Nachrichten
article = Artikel m Artikel
postcard = Postkarte f Postkarten
""",
    "thing": """
table = Tisch m Tische
chair = Stuhl m Stühle
bed = Bett n Betten
lamp = Lampe f Lampen
clock = Uhr f Uhren
cup = Tasse f Tassen
glass = Glas n Gläser
bottle = Flasche f Flaschen
plate = Teller m Teller
knife knives = Messer n Messer
fork = Gabel f Gabeln
spoon = Löffel m Löffel
key = Schlüssel m Schlüssel
bag = Tasche f Taschen
picture = Bild n Bilder
ball = Ball m Bälle
flower = Blume f Blumen
pencil = Bleistift m Bleistifte
camera = Kamera f Kameras
computer = Computer m Computer
umbrella = Regenschirm m Regenschirme
gift = Geschenk n Geschenke
ring = Ring m Ringe
map = Landkarte f Landkarten
basket = Korb m Körbe
mirror = Spiegel m Spiegel
candle = Kerze f Kerzen
blanket = Decke f Decken
suitcase = Koffer m Koffer
""",
    "clothes": """
shirt = Hemd n Hemden
coat = Mantel m Mäntel
dress = Kleid n Kleider
hat = Hut m Hüte
skirt = Rock m Röcke
shoe = Schuh m Schuhe
jacket = Jacke f Jacken
sweater = Pullover m Pullover
""",
    "vehicle": """
car = Auto n Autos
bicycle = Fahrrad n Fahrräder
bus = Bus m Busse
train = Zug m Züge
boat = Boot n Boote
ship = Schiff n Schiffe
truck = Lastwagen m Lastwagen
taxi = Taxi n Taxis
""",
    "opening": """
door = Tür f Türen
window = Fenster n Fenster
box = Kiste f Kisten
cupboard = Schrank m Schränke
gate = Tor n Tore
""",
    "nature": """
tree = Baum m Bäume
river = Fluss m Flüsse
mountain = Berg m Berge
star = Stern m Sterne
cloud = Wolke f Wolken
""",
    "place": """
garden = Garten m Gärten
house = Haus n Häuser
kitchen = Küche f Küchen
room = Zimmer n Zimmer
city = Stadt f Städte
village = Dorf n Dörfer
forest = Wald m Wälder
park = Park m Parks
school = Schule f Schulen
office = Büro n Büros
station = Bahnhof m Bahnhöfe
beach = Strand m Strände
market = Markt m Märkte
restaurant = Restaurant n Restaurants
church = Kirche f Kirchen
hospital = Krankenhaus n Krankenhäuser
hotel = Hotel n Hotels
airport = Flughafen m Flughäfen
museum = Museum n Museen
library = Bibliothek f Bibliotheken
theater = Theater n Theater
lake = See m Seen
street = Straße f Straßen
bridge = Brücke f Brücken
castle = Schloss n Schlösser
cellar = Keller m Keller
island = Insel f Inseln
""",
}

# Where one is, in English and German, and how one goes there in German.
PLACE_PREPOSITIONS = {
    "in in in": "garden house kitchen room city village forest park school office restaurant "
    "church hospital hotel museum library theater castle cellar",
    "at an zu": "station airport",
    "at an an": "beach lake",
    "at auf auf": "market",
    "on auf auf": "street bridge island",
}

# Where things and animals are: these prepositions, with any of these nouns.
NEAR = {"on": "auf", "under": "unter", "behind": "hinter", "next to": "neben", "in front of": "vor"}
LANDMARKS = ("table", "chair", "bed", "door", "house", "car", "cupboard", "church", "tree")

CITIES = """
Berlin=Berlin Hamburg=Hamburg London=London Paris=Paris Munich=München Vienna=Wien Rome=Rom
Cologne=Köln Zurich=Zürich Geneva=Genf Prague=Prag Warsaw=Warschau Venice=Venedig Lisbon=Lissabon
Germany=Deutschland France=Frankreich Italy=Italien Spain=Spanien England=England Norway=Norwegen
Sweden=Schweden Poland=Polen Japan=Japan China=China Greece=Griechenland Austria=Österreich
Canada=Kanada Brazil=Brasilien Mexico=Mexiko Egypt=Ägypten India=Indien Ireland=Irland
"""

WOMEN = "Anna Maria Julia Laura Emma Sophie Sarah Lena Clara Eva Nina Paula Lisa Martha Helen"
MEN = "Peter Thomas Paul Martin Daniel David Michael Robert Simon Oliver Jan Oscar Leo Otto Adam"

# What is after "football" or "German" belongs to the verb in both languages.
VERBS = {
    "intransitive": """
sleep slept = schlafen (schläfst schläft) geschlafen
work = arbeiten
laugh = lachen
sing sang sung = singen gesungen
dance = tanzen
swim swam swum = schwimmen geschwommen sein
wait = warten
cook = kochen
play = spielen
cry = weinen
get_up got_up = auf|stehen aufgestanden sein
arrive = an|kommen angekommen sein
smile = lächeln
read read = lesen (liest liest) gelesen
write wrote written = schreiben geschrieben
eat ate eaten = essen (isst isst) gegessen
play_football = Fußball|spielen
play_chess = Schach|spielen
play_cards = Karten|spielen
speak_German spoke_German spoken_German = Deutsch|sprechen (sprichst spricht) gesprochen
speak_English spoke_English spoken_English = Englisch|sprechen (sprichst spricht) gesprochen
""",
    "stay": """
live = wohnen
work = arbeiten
sleep slept = schlafen (schläfst schläft) geschlafen
wait = warten
play = spielen
sit sat = sitzen gesessen
stay = bleiben geblieben sein
stand stood = stehen gestanden
sing sang sung = singen gesungen
""",
    "go": """
go went gone = gehen gegangen sein
run ran run = laufen (läufst läuft) gelaufen sein
drive drove driven = fahren (fährst fährt) gefahren sein
travel = reisen gereist sein
come came come = kommen gekommen sein
""",
    "see any": """
see saw seen = sehen (siehst sieht) gesehen
find found = finden gefunden
look_for = suchen
love = lieben
draw drew drawn = zeichnen
photograph = fotografieren
hear heard = hören
like = mögen gemocht
""",
    "see person": """
know knew known = kennen gekannt
visit = besuchen
meet met = treffen (triffst trifft) getroffen
invite = ein|laden (lädst lädt) eingeladen
call = an|rufen angerufen
pick_up = ab|holen
greet = grüßen
understand understood = verstehen verstanden
kiss = küssen
wake_up woke_up woken_up = auf|wecken
""",
    "see animal": """
have had = haben gehabt
feed fed = füttern
buy bought = kaufen
sell sold = verkaufen
wash = waschen (wäschst wäscht) gewaschen
catch caught = fangen (fängst fängt) gefangen
""",
    "see food": """
eat ate eaten = essen (isst isst) gegessen
cook = kochen
buy bought = kaufen
need = brauchen
cut cut = schneiden geschnitten
""",
    "see drink": """
drink drank drunk = trinken getrunken
buy bought = kaufen
order = bestellen
bring brought = bringen gebracht
""",
    "see text": """
read read = lesen (liest liest) gelesen
write wrote written = schreiben geschrieben
translate = übersetzen übersetzt
forget forgot forgotten = vergessen (vergisst vergisst) vergessen
receive = bekommen bekommen
""",
    "see thing": """
buy bought = kaufen
sell sold = verkaufen
carry = tragen (trägst trägt) getragen
need = brauchen
take took taken = nehmen (nimmst nimmt) genommen
forget forgot forgotten = vergessen (vergisst vergisst) vergessen
lose lost = verlieren verloren
bring brought = bringen gebracht
have had = haben gehabt
break broke broken = zerbrechen (zerbrichst zerbricht) zerbrochen
""",
    "see clothes": """
wear wore worn = tragen (trägst trägt) getragen
wash = waschen (wäschst wäscht) gewaschen
buy bought = kaufen
put_on put_on = an|ziehen angezogen
""",
    "see vehicle": """
repair = reparieren
wash = waschen (wäschst wäscht) gewaschen
sell sold = verkaufen
have had = haben gehabt
""",
    "see opening": """
open = öffnen
close = schließen geschlossen
clean = putzen
""",
    "see place": """
visit = besuchen
leave left = verlassen (verlässt verlässt) verlassen
show showed shown = zeigen
""",
    "help": """
help = helfen (hilfst hilft) geholfen
thank = danken
answer = antworten
follow = folgen gefolgt sein
listen_to = zu|hören
believe = glauben
""",
    "give": """
give gave given = geben (gibst gibt) gegeben
show showed shown = zeigen
send sent = schicken
bring brought = bringen gebracht
lend lent = leihen geliehen
""",
    "wait for": """
wait for = warten auf acc
think thought of = denken gedacht an acc
talk about = sprechen (sprichst spricht) gesprochen über acc
laugh about = lachen über acc
dream about = träumen von dat
play with = spielen mit dat
talk with = sprechen (sprichst spricht) gesprochen mit dat
""",
}

# What people do not say with "is ...ing".
STATIVE = {"love", "like", "know", "need", "have", "hear", "see", "understand", "believe", "forget"}

ADJECTIVES = {
    "person animal": """
young = jung jünger
strong = stark stärker
tired = müde
hungry = hungrig
thirsty = durstig
sad = traurig
lazy = faul
clever = klug klüger
sick = krank kränker
""",
    "person": """
happy = glücklich
friendly = freundlich
rich = reich
poor = arm ärmer
famous = berühmt
""",
    "person animal nature place": """
big = groß größer
small = klein
beautiful = schön
old = alt älter
""",
    "person food drink text place": """
good = gut besser
""",
    "animal": """
wild = wild
dangerous = gefährlich
brown = braun
""",
    "food": """
fresh = frisch
sweet = süß
big = groß größer
small = klein
cheap = billig
""",
    "drink": """
cold = kalt kälter
hot = heiß
fresh = frisch
""",
    "text": """
long = lang länger
short = kurz kürzer
interesting = interessant
boring = langweilig
important = wichtig
difficult = schwierig
""",
    "thing clothes vehicle opening": """
new = neu
old = alt älter
red = rot
blue = blau
green = grün
black = schwarz
white = weiß
yellow = gelb
big = groß größer
small = klein
""",
    "thing clothes vehicle": """
expensive = teuer teurer
cheap = billig
beautiful = schön
heavy = schwer
clean = sauber
dirty = schmutzig
""",
    "vehicle": """
fast = schnell
slow = langsam
""",
    "place": """
new = neu
modern = modern
quiet = ruhig
dark = dunkel dunkler
""",
}
COLOURS = {"red", "blue", "green", "black", "white", "yellow", "brown"}

# What someone is by trade: masculine, feminine.
TRADES = """
teacher = Lehrer Lehrerin
doctor = Arzt Ärztin
student = Student Studentin
cook = Koch Köchin
baker = Bäcker Bäckerin
gardener = Gärtner Gärtnerin
painter = Maler Malerin
singer = Sänger Sängerin
lawyer = Anwalt Anwältin
artist = Künstler Künstlerin
pilot = Pilot Pilotin
"""

NUMBERS = (
    ("two", "zwei"), ("three", "drei"), ("four", "vier"), ("five", "fünf"), ("six", "sechs"),
    ("seven", "sieben"), ("eight", "acht"), ("nine", "neun"), ("ten", "zehn"), ("many", "viele"),
)  # fmt: skip

WEEKDAYS = (
    ("Monday", "Montag"), ("Tuesday", "Dienstag"), ("Wednesday", "Mittwoch"),
    ("Thursday", "Donnerstag"), ("Friday", "Freitag"), ("Saturday", "Samstag"),
    ("Sunday", "Sonntag"),
)  # fmt: skip

# When, and with which tenses.
TIMES = {
    "present progressive": """
now = jetzt
today = heute
this evening = heute Abend
""",
    "present": """
every day = jeden Tag
every morning = jeden Morgen
in the evening = am Abend
in the morning = am Morgen
in summer = im Sommer
in winter = im Winter
""",
    "past": """
yesterday = gestern
last week = letzte Woche
last year = letztes Jahr
yesterday evening = gestern Abend
""",
    "future modal": """
tomorrow = morgen
next week = nächste Woche
next year = nächstes Jahr
today = heute
tomorrow evening = morgen Abend
""",
}

FREQUENCIES = (
    ("often", "oft"), ("always", "immer"), ("never", "nie"), ("sometimes", "manchmal"),
    ("usually", "meistens"), ("rarely", "selten"),
)  # fmt: skip

MANNERS = (
    ("well", "gut"), ("slowly", "langsam"), ("loudly", "laut"), ("quietly", "leise"),
    ("alone", "allein"), ("together", "zusammen"), ("a lot", "viel"),
)  # fmt: skip

# What is said as it stands; where several are right, the likeliest first.
PHRASES = """
Good morning! = Guten Morgen!
Good evening! = Guten Abend!
Good night! = Gute Nacht!
Hello! = Hallo!
Goodbye! = Auf Wiedersehen!
See you tomorrow! = Bis morgen!
Thank you! = Danke!
Thank you very much! = Vielen Dank!
You are welcome. = Gern geschehen.
Please! = Bitte!
Yes, please. = Ja, bitte.
No, thank you. = Nein, danke.
I am sorry. = Es tut mir leid.
I don't know. = Ich weiß es nicht.
I do not know. = Ich weiß es nicht.
How are you? = Wie geht es dir? = Wie geht es Ihnen? = Wie geht es euch?
I am fine. = Es geht mir gut.
What is your name? = Wie heißt du? = Wie heißen Sie? = Wie heißt ihr?
What is this? = Was ist das?
Who is this? = Wer ist das?
Where are you from? = Woher kommst du? = Woher kommen Sie? = Woher kommt ihr?
What time is it? = Wie spät ist es?
It is late. = Es ist spät.
It is raining. = Es regnet.
It is snowing. = Es schneit.
It is cold. = Es ist kalt.
It is warm. = Es ist warm.
Happy birthday! = Alles Gute zum Geburtstag!
Cheers! = Prost!
Excuse me! = Entschuldigung!
"""
