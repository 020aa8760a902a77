//! What the shop sells and the newsroom writes.

/// Item and price.
pub(super) const ITEMS: &[(&str, &str)] = &[
    ("Hand-thrown teapot", "64.00"),
    ("Walnut cutting board", "38.50"),
    ("Field notebook, dotted", "7.90"),
    ("Moka pot, 6 cups", "34.00"),
    ("Wool blanket", "118.00"),
    ("Brass desk lamp", "149.00"),
    ("Linen tea towels", "12.40"),
    ("Olive wood spoon", "14.20"),
    ("Enamel camping mug", "16.00"),
    ("Cast-iron skillet", "72.00"),
    ("Beeswax candles", "21.50"),
    ("Canvas apron", "44.00"),
    ("Fountain pen, fine", "89.00"),
    ("Garden secateurs", "52.30"),
    ("Merino socks", "18.90"),
    ("Bicycle bell", "24.00"),
];

/// An article as it is published first, and what an editor makes of it later.
#[derive(Debug)]
pub(super) struct Article {
    pub(super) section: &'static str,
    pub(super) title: &'static str,
    pub(super) summary: &'static str,
    pub(super) second_edition: &'static str,
    pub(super) author: &'static str,
}

pub(super) const ARTICLES: &[Article] = &[
    Article {
        section: "City",
        title: "Night trams return to the harbour line",
        summary: "From Monday the last tram leaves at half past two, and the first one at four.",
        second_edition: "From Monday the last tram leaves at half past two. The line now stops at the fish market too.",
        author: "Ines Carvalho",
    },
    Article {
        section: "Science",
        title: "A quiet reef turns out to be a loud one",
        summary: "Two years of underwater recordings show when fish larvae decide to come home.",
        second_edition: "Two years of recordings, now open to everyone, show when fish larvae decide to come home.",
        author: "Tomasz Kowal",
    },
    Article {
        section: "Food",
        title: "The case for slower bread",
        summary: "Three bakers explain why they let their dough rest for two nights.",
        second_edition: "Three bakers explain why they let their dough rest for two nights. With a recipe.",
        author: "Grace Adeyemi",
    },
    Article {
        section: "Business",
        title: "Ferry operator orders two electric ships",
        summary: "The first of them is to cross the strait in the spring after next.",
        second_edition: "The first of them is to cross the strait next autumn, half a year earlier than planned.",
        author: "Henrik Lund",
    },
    Article {
        section: "Culture",
        title: "The library that lends out gardens",
        summary: "Forty plots, one card, and a waiting list of two summers.",
        second_edition: "Sixty plots, one card, and a waiting list that has become shorter for the first time.",
        author: "Yuki Mori",
    },
    Article {
        section: "Weather",
        title: "Fog clears by noon, then a long blue evening",
        summary: "Light wind from the south-west, up to nineteen degrees on the coast.",
        second_edition: "Light wind from the south-west, up to twenty-one degrees on the coast.",
        author: "Weather desk",
    },
    Article {
        section: "Sport",
        title: "Saltmarsh name their youngest captain yet",
        summary: "At twenty, the midfielder leads a side that has lost once since March.",
        second_edition: "At twenty, the midfielder leads a side that has not lost at home since March.",
        author: "Dara Quinn",
    },
    Article {
        section: "Science",
        title: "Clock in a cave measures how the ground breathes",
        summary: "Geologists hear the tide in solid rock, thirty kilometres from the sea.",
        second_edition: "Geologists hear the tide in solid rock, thirty kilometres from the sea. Now with audio.",
        author: "Tomasz Kowal",
    },
    Article {
        section: "City",
        title: "Market hall keeps its iron roof",
        summary: "The council votes to repair what it had meant to replace.",
        second_edition: "The council votes by nine to four to repair what it had meant to replace.",
        author: "Ines Carvalho",
    },
    Article {
        section: "Travel",
        title: "By sleeper to the edge of the map",
        summary: "Nineteen hours, one sunrise, and the best soup in the north.",
        second_edition: "Nineteen hours, one sunrise, and where to find the best soup in the north.",
        author: "Leïla Benali",
    },
];
