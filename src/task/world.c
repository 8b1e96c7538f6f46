/* world.c - see world.h. Names of people and towns are put together from syllables, the objects of relations are
 * drawn, both from a constant seed. Changing anything here changes the world: a model trained before knows another.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/world.h"

#include "task/gen.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { N_PERSON = 320, N_TOWN = 40, N_JOB = 30, N_RIVER = 12, N_REGION = 8, MAX_NAME = 16, FAMILY_SIZE = 4 };

static const char *const jobs[N_JOB] = {
    "a baker", "a miller", "a smith", "a weaver", "a fisher", "a potter", "a farmer", "a tailor", "a carpenter", "a nurse",
    "a teacher", "a painter", "a hunter", "a sailor", "a doctor", "a cook", "a barber", "a mason", "a gardener", "a clerk",
    "a singer", "a judge", "a shepherd", "a brewer", "a printer", "a beekeeper", "a glazier", "a tanner", "a guard", "a jeweler"};
static const char *const tools[N_JOB] = {
    "an oven", "a millstone", "an anvil", "a loom", "a net", "a wheel", "a plough", "a needle", "a saw", "a bandage",
    "a blackboard", "a brush", "a bow", "a rope", "a thermometer", "a kettle", "a razor", "a trowel", "a rake", "a ledger",
    "a harp", "a gavel", "a crook", "a barrel", "a press", "a smoker", "a diamond cutter", "a scraper", "a lantern", "a loupe"};
static const char *const places[N_JOB] = {
    "a bakery", "a mill", "a forge", "a weaving hall", "a harbor", "a pottery", "a barn", "a tailor shop", "a wood yard", "a hospital",
    "a school", "a studio", "a forest lodge", "a ship", "a clinic", "a kitchen", "a barber shop", "a quarry", "a park", "an office",
    "a theater", "a court", "a pasture", "a brewery", "a print shop", "an orchard", "a glass works", "a tannery", "a gatehouse", "a gold shop"};
static const char *const rivers[N_RIVER] = {"the Oss", "the Lune", "the Varn", "the Teel", "the Brend", "the Ilka", "the Morrow", "the Sarn", "the Quill", "the Doma", "the Fenn", "the Yarra"};
static const char *const regions[N_REGION] = {"Northmark", "Eastvale", "Highmoor", "Lowland", "Redhill", "Saltcoast", "Greenwold", "Stonefell"};
static const char *const hobbies[] = {"chess", "fishing", "dancing", "singing", "painting", "running", "climbing", "reading", "swimming", "cooking",
                                      "archery", "sailing", "knitting", "rowing", "juggling", "carving", "hiking", "poetry", "skating", "cards"};
static const char *const pets[] = {"a cat", "a dog", "a parrot", "a turtle", "a rabbit", "a goat", "a pony", "a hen", "a duck", "a lizard",
                                   "a ferret", "a pigeon", "a hamster", "a crow", "a donkey", "a goose"};
static const char *const goods[] = {"cheese", "glass", "rope", "paper", "candles", "boots", "honey", "wool", "clocks", "bricks", "soap", "silk", "knives",
                                    "carpets", "lamps", "hats", "drums", "pottery", "wine", "salt", "gloves", "mirrors", "buttons", "tea"};
static const char *const sights[] = {"a stone bridge", "a tall tower", "a round church", "an old castle", "a great market", "a clock tower", "a red gate",
                                     "a deep well", "a rose garden", "a windmill", "a long wall", "a statue of a horse", "a lighthouse", "a glass hall", "a black fountain", "a white temple"};
static const char *const seas[] = {"the Grey Sea", "the Sea of Amber", "the Silent Gulf", "the Cold Bay", "the Mirror Lake", "the Western Ocean"};
static const char *const crops[] = {"wheat", "barley", "apples", "grapes", "potatoes", "rye", "hops", "plums", "beets", "corn"};

static const moa_relation relations[] = {
    {"home", MOA_PERSON, MOA_TOWN, {"$0 lives in $1.", "The home town of $0 is $1.", "$1 is where $0 lives."},
     {"Where does $0 live?", "In which town does $0 live?", "What is the home town of $0?"}, "the home town of $0"},
    {"job", MOA_PERSON, MOA_JOB, {"$0 is $1.", "$0 works as $1.", "By trade $0 is $1."},
     {"What is the job of $0?", "What does $0 work as?", "Which trade does $0 have?"}, "$0"},
    {"hobby", MOA_PERSON, MOA_HOBBY, {"$0 likes $1.", "The hobby of $0 is $1.", "$0 enjoys $1."},
     {"What is the hobby of $0?", "What does $0 like to do?", "What does $0 enjoy?"}, NULL},
    {"pet", MOA_PERSON, MOA_PET, {"$0 has $1.", "The pet of $0 is $1.", "$0 keeps $1 at home."},
     {"What pet does $0 have?", "Which animal does $0 keep?", "What is the pet of $0?"}, NULL},
    {"friend", MOA_PERSON, MOA_PERSON, {"The best friend of $0 is $1.", "$1 is the best friend of $0.", "The closest friend of $0 is $1."},
     {"Who is the best friend of $0?", "Which person is the best friend of $0?", "Who is the closest friend of $0?"}, "the best friend of $0"},
    {"sister", MOA_PERSON, MOA_PERSON, {"The sister of $0 is $1.", "$1 is the sister of $0.", "$0 has a sister called $1."},
     {"Who is the sister of $0?", "What is the sister of $0 called?", "Which person is the sister of $0?"}, "the sister of $0"},
    {"river", MOA_TOWN, MOA_RIVER, {"$0 lies on $1.", "The river of $0 is $1.", "The water of $0 comes from $1."},
     {"On which river does $0 lie?", "Which river flows by $0?", "What is the river of $0?"}, "the river of $0"},
    {"region", MOA_TOWN, MOA_REGION, {"$0 is in $1.", "The region of $0 is $1.", "$0 belongs to $1."},
     {"In which region is $0?", "What is the region of $0?", "To which region does $0 belong?"}, "the region of $0"},
    {"goods", MOA_TOWN, MOA_GOODS, {"$0 makes $1.", "The workshops of $0 make $1.", "People in $0 sell $1."},
     {"What does $0 make?", "What do people in $0 sell?", "Which goods come from $0?"}, NULL},
    {"sight", MOA_TOWN, MOA_SIGHT, {"$0 is known for $1.", "Visitors of $0 come to see $1.", "In the middle of $0 stands $1."},
     {"What is $0 known for?", "What do visitors come to see in $0?", "What stands in the middle of $0?"}, NULL},
    {"mayor", MOA_TOWN, MOA_PERSON, {"The mayor of $0 is $1.", "$1 is the mayor of $0.", "$0 has a mayor called $1."},
     {"Who is the mayor of $0?", "Which person is the mayor of $0?", "What is the mayor of $0 called?"}, "the mayor of $0"},
    {"next", MOA_TOWN, MOA_TOWN, {"The road from $0 leads to $1.", "From $0 the road goes to $1.", "The next town after $0 is $1."},
     {"Where does the road from $0 lead?", "Which town comes next after $0?", "To which town does the road from $0 go?"}, "the town next after $0"},
    {"tool", MOA_JOB, MOA_TOOL, {"$0 works with $1.", "$0 uses $1.", NULL},
     {"What does $0 work with?", "Which tool does $0 use?", NULL}, NULL},
    {"place", MOA_JOB, MOA_PLACE, {"$0 works in $1.", "The work of $0 is done in $1.", NULL},
     {"In what kind of place does $0 work?", "Where is the work of $0 done?", NULL}, NULL},
    {"sea", MOA_RIVER, MOA_SEA, {"$0 flows into $1.", "$0 ends in $1.", NULL},
     {"Into which water does $0 flow?", "Where does $0 end?", NULL}, NULL},
    {"capital", MOA_REGION, MOA_TOWN, {"The capital of $0 is $1.", "$1 is the capital of $0.", "$0 is ruled from $1."},
     {"What is the capital of $0?", "Which town is the capital of $0?", "From which town is $0 ruled?"}, "the capital of $0"},
    {"crop", MOA_REGION, MOA_CROP, {"The fields of $0 grow $1.", "$0 grows $1.", "Farmers in $0 grow $1."},
     {"What do the fields of $0 grow?", "What does $0 grow?", "What do farmers in $0 grow?"}, NULL},
};
enum { N_RELATION = MOA_COUNT(relations) };

static struct {
    char person[N_PERSON][MAX_NAME], town[N_TOWN][MAX_NAME];
    short object[N_RELATION][N_PERSON];
} world;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct { int n; const char *const *name; } things[MOA_N_THING] = {
    [MOA_PERSON] = {N_PERSON, NULL}, [MOA_TOWN] = {N_TOWN, NULL}, [MOA_JOB] = {N_JOB, jobs}, [MOA_RIVER] = {N_RIVER, rivers},
    [MOA_REGION] = {N_REGION, regions}, [MOA_HOBBY] = {MOA_COUNT(hobbies), hobbies}, [MOA_PET] = {MOA_COUNT(pets), pets},
    [MOA_GOODS] = {MOA_COUNT(goods), goods}, [MOA_SIGHT] = {MOA_COUNT(sights), sights}, [MOA_TOOL] = {N_JOB, tools},
    [MOA_PLACE] = {N_JOB, places}, [MOA_SEA] = {MOA_COUNT(seas), seas}, [MOA_CROP] = {MOA_COUNT(crops), crops},
};

/* ---- making it ---------------------------------------------------------------------------------- */

static bool taken(char (*name)[MAX_NAME], int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(name[i], name[n]) == 0) return true;
    return false;
}

/* Women (the first two of each family of four) end on vowels, men on consonants: easier to tell apart and to learn. */
static void name_person(int i, moa_rng *r) {
    static const char *const first[] = {"Ba", "Be", "Bo", "Da", "De", "Do", "Fa", "Fe", "Ga", "Go", "Ha", "He", "Ka", "Ke", "Ko", "La", "Le", "Lo", "Ma", "Me", "Mo", "Na", "Ne", "No", "Pa", "Pe", "Ra", "Re", "Ro", "Sa", "Se", "So", "Ta", "Te", "To", "Va", "Ve", "Za", "Ze"};
    static const char *const middle[] = {"b", "d", "g", "l", "m", "n", "r", "s", "t", "v", "nd", "rm", "lv", "st", "rk"};
    static const char *const woman[] = {"ia", "a", "ea", "ina", "ena", "una"}, *const man[] = {"or", "en", "ik", "us", "an", "il"};
    bool female = i % FAMILY_SIZE < 2;
    do {
        const char *a = MOA_PICK(r, first), *b = MOA_PICK(r, middle), *c = female ? MOA_PICK(r, woman) : MOA_PICK(r, man);
        snprintf(world.person[i], MAX_NAME, "%s%s%s", a, b, c);
    } while (taken(world.person, i));
}

static void name_town(int i, moa_rng *r) {
    static const char *const first[] = {"Bran", "Cal", "Dun", "Elm", "Far", "Glen", "Har", "Ives", "Kels", "Lang", "Mar", "Nor", "Oak", "Pen", "Rav", "Stan", "Thorn", "Ulm", "Wes", "Yor"};
    static const char *const second[] = {"ton", "holm", "mere", "wick", "dale", "ford", "stead", "by"};
    do {
        const char *a = MOA_PICK(r, first), *b = MOA_PICK(r, second);
        snprintf(world.town[i], MAX_NAME, "%s%s", a, b);
    } while (taken(world.town, i));
}

/* Sisters stay in a family of two women and two men, so that every person has one and hers is she. */
static int sister_of(int i) {
    static const int of[FAMILY_SIZE] = {1, 0, 0, 1};
    return i / FAMILY_SIZE * FAMILY_SIZE + of[i % FAMILY_SIZE];
}

static int draw_object(int rel, int subject, moa_rng *r) {
    const moa_relation *x = &relations[rel];
    if (strcmp(x->name, "sister") == 0) return sister_of(subject);
    if (x->from == MOA_JOB) return subject; /* each job has its own tool and place */
    for (;;) {
        int o = (int)moa_rng_below(r, (uint32_t)things[x->to].n);
        bool kin = x->from == MOA_PERSON && x->to == MOA_PERSON && o / FAMILY_SIZE == subject / FAMILY_SIZE;
        if (!(x->from == x->to && o == subject) && !kin) return o;
    }
}

/* The capital of a region is one of its towns. */
static void crown_capitals(int capital, int region, moa_rng *r) {
    for (int g = 0; g < N_REGION; g++) {
        int t = (int)moa_rng_below(r, N_TOWN);
        for (int k = 0; k < N_TOWN && world.object[region][t] != g; k++) t = (t + 1) % N_TOWN;
        world.object[region][t] = (short)g; /* a region without towns gets this one */
        world.object[capital][g] = (short)t;
    }
}

static void make_world(void) {
    moa_rng r;
    moa_rng_seed(&r, 20);
    for (int i = 0; i < N_PERSON; i++) name_person(i, &r);
    for (int i = 0; i < N_TOWN; i++) name_town(i, &r);
    int capital = 0, region = 0;
    for (int k = 0; k < N_RELATION; k++) {
        for (int s = 0; s < things[relations[k].from].n; s++) world.object[k][s] = (short)draw_object(k, s, &r);
        if (strcmp(relations[k].name, "capital") == 0) capital = k;
        if (strcmp(relations[k].name, "region") == 0) region = k;
    }
    crown_capitals(capital, region, &r);
}

/* ---- asking it ---------------------------------------------------------------------------------- */

int moa_world_count(moa_thing kind) { return things[kind].n; }

const char *moa_world_name(moa_thing kind, int i) {
    pthread_once(&once, make_world);
    return kind == MOA_PERSON ? world.person[i] : kind == MOA_TOWN ? world.town[i] : things[kind].name[i];
}

const moa_relation *moa_world_relations(int *n) {
    *n = N_RELATION;
    return relations;
}

int moa_world_object(int relation, int subject) {
    pthread_once(&once, make_world);
    return world.object[relation][subject];
}

void moa_world_sentence(moa_buf *b, int relation, int subject, int wording) {
    const moa_relation *x = &relations[relation];
    const char *arg[] = {moa_world_name(x->from, subject), moa_world_name(x->to, moa_world_object(relation, subject))};
    int n = x->fact[2] ? 3 : 2;
    size_t at = b->len;
    moa_gen_fill(b, x->fact[wording % n], arg, 2);
    if (b->len > at && b->data[at] >= 'a' && b->data[at] <= 'z') b->data[at] = (char)(b->data[at] - 'a' + 'A');
}

int moa_world_n_fact(void) {
    int n = 0;
    for (int k = 0; k < N_RELATION; k++) n += things[relations[k].from].n;
    return n;
}
