{# What a rule finds: the models in the relation `violations` (model, remedy) but those that the seed excepts from the
   rule, and the exceptions that no model needs any more. #}
{% macro unexcepted(violations) -%}
    (
        select
            coalesce(violations.model, exceptions.model) as model,
            coalesce(violations.remedy, 'keeps the rule: take it out of rule_exceptions') as remedy
        from {{ violations }} as violations
        full join (
            select * from {{ ref('rule_exceptions') }} where rule = '{{ this.identifier }}'
        ) as exceptions
            on violations.model = exceptions.model
        where violations.model is null or exceptions.model is null
    ) as unexcepted
{%- endmacro %}
